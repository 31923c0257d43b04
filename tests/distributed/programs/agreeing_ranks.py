"""Trainings whose ranks come to differ in one thing, each a run; what every rank then hears.

Arguments: folder, strategy, and the names of what is planted. A seed draws rank, step and place;
`SEEDS` in the environment says for which seeds all of it is done: `0 5` is from 0 to 4.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import claim
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from trackside import Callback, Run, Settings, TracksideError, Trainer
from trackside.distributed import FSDP, leave
from trackside.distributed.state import is_sharded, local_part

RANK, RANKS = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
EPOCHS, SAMPLES, BATCH = 3, 48, 8
STEPS = EPOCHS * SAMPLES // BATCH


class Rows(Dataset[Any]):
    """Vectors, and their sums."""

    def __init__(self) -> None:
        self.inputs = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index], self.inputs[index].sum(0, keepdim=True)


class Stream(IterableDataset[Any]):
    """The same rows on each rank, but for one, where that is planted."""

    def __init__(self, changed: int | None) -> None:
        self.changed = changed

    def __iter__(self) -> Any:
        rows = Rows()
        if self.changed is not None:
            rows.inputs[self.changed, 0] += 1e-3
        return (rows[number] for number in range(SAMPLES))


class Batches:
    """A batch sampler with a generator of its own, from the same seed on each rank."""

    def __init__(self, swapped: tuple[int, int] | None = None) -> None:
        self.generator = np.random.default_rng(0)
        self.swapped = swapped
        self.drawn = 0

    def __len__(self) -> int:
        return SAMPLES // BATCH

    def __iter__(self) -> Any:
        for batch in self.generator.permutation(SAMPLES).reshape(-1, BATCH).tolist():
            self.drawn += 1
            if self.swapped is not None and self.drawn == self.swapped[0]:
                place = self.swapped[1]
                batch[place] = (batch[place] + 1) % SAMPLES
            yield batch


class Planted(Callback):
    """Changes one thing on one rank after one step."""

    def __init__(self, what: str, rank: int, step: int, dice: random.Random) -> None:
        self.what = what
        self.rank = rank
        self.step = step
        self.dice = dice
        self.named = ""

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed != self.step:
            return
        parameters = run.model.named_parameters()
        name, parameter = self.dice.choice([p for p in parameters if of_all_ranks(p[1])])
        if self.what == "weight":
            self.named = name
            if self.rank == RANK:
                with torch.no_grad():
                    part = local_part(parameter).view(-1)
                    part[self.dice.randrange(part.numel())] += 1e-6
        if self.what == "flag":
            self.named = name
            if self.rank == RANK:
                parameter.requires_grad_(False)
        if self.what == "rate":
            self.named = "lr of optimizer/0"
            if self.rank == RANK:
                run.optimizer.param_groups[0]["lr"] *= 1.01
        if self.what == "option":
            self.named = "weight_decay of optimizer/0"
            if self.rank == RANK:
                run.optimizer.param_groups[0]["weight_decay"] = 0.1

    def on_evaluation_start(self, run: Run, evaluation: Any) -> None:
        if self.what != "buffer" or run.progress.epochs_completed != 1 + self.step % EPOCHS:
            return
        name, buffer = self.dice.choice([b for b in run.model.named_buffers() if b[1].ndim])
        self.named = f"{name} of the model evaluated on 'val'"
        if self.rank == RANK:
            buffer[self.dice.randrange(len(buffer))] += 1e-6


def of_all_ranks(parameter: nn.Parameter) -> bool:
    """Whether each rank holds a part of it: of a row, one rank alone does."""
    return not is_sharded(parameter) or len(parameter) >= RANKS


def model(what: str) -> nn.Module:
    middle = nn.BatchNorm1d(8) if what == "buffer" else nn.Tanh()
    return nn.Sequential(nn.Linear(4, 8), middle, nn.Linear(8, 1))


def planted(what: str, folder: Path, strategy: str, seed: int) -> None:
    dice = random.Random(f"{what} {seed}")
    rank, step = dice.randrange(RANKS), dice.randrange(1, STEPS)
    place = dice.randrange(BATCH)
    callback = Planted(what, rank, step, dice)
    swapped = (step, place) if what == "sample" and rank == RANK else None
    if what == "sample":
        epoch_steps = SAMPLES // BATCH
        callback.named = f"sample {place + 1} of batch {(step - 1) % epoch_steps + 1}"
    evaluated: Any = DataLoader(Rows(), BATCH) if what == "buffer" else None
    if what == "content":
        sample = dice.randrange(BATCH, SAMPLES)  # the first batch shows whether data is split
        turn, number = divmod(sample // BATCH, RANKS)
        callback.named = f"batch {number + 1} of round {turn + 1} of the data named 'val'"
        evaluated = DataLoader(Stream(sample if rank == RANK else None), BATCH)
    trainer = Trainer(
        model(what),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05),
        callbacks=[callback],
        defaults=False,
        seed=0,
        settings=Settings(
            directory=folder / f"{what} {seed}",
            strategy=FSDP(replicas=2) if strategy == "hsdp" else strategy,
            compare_ranks_every=("100 steps", "1 step")[seed % 2],
        ),
    )
    text = ""
    try:
        loader = DataLoader(Rows(), batch_sampler=Batches(swapped))
        trainer.fit(loader, evaluated, epochs=EPOCHS)
    except TracksideError as error:
        text = str(error)
        leave(failed=True)
    steps = trainer.result.outcome.step if trainer.result else None
    claim(f"{what} {seed}", [text, callback.named, rank, step, steps])


if __name__ == "__main__":
    folder, strategy, *names = sys.argv[1:]
    for seed in range(*map(int, os.environ.get("SEEDS", "1").split())):
        for name in names:
            planted(name, Path(folder), strategy, seed)
    sys.stdout.flush()
    os._exit(0)  # groups that were broken off may wait for each other in their destructors
