"""A bad sample that only one of two ranks sees: all go back, and on without its batch."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from trackside import Callback, Settings, Trainer
from trackside.callbacks import BestCheckpoint, Checkpoint, TerminateOnNonFinite
from trackside.callbacks.saving import best_checkpoint, weight_files
from trackside.run import Run
from trackside.schedule import Every

SAMPLES, SIZE, BAD = 48, 4, 21


class Without(BatchSampler):
    """Shuffled batches that don't hold the bad sample."""

    def __iter__(self) -> Iterator[list[int]]:
        return (batch for batch in super().__iter__() if BAD not in batch)


class Notes(Callback):
    """What this rank knows of the returns, and in which epochs it had the bad sample itself."""

    def __init__(self) -> None:
        self.saw_it: list[int] = []

    def on_batch_start(self, run: Run, batch: Any) -> None:
        if batch[0].isnan().any():
            self.saw_it.append(run.progress.epochs_completed)

    def on_fit_end(self, run: Run) -> None:
        claim("rollbacks", len(run.rollbacks))
        claim("left out", [BAD in b.samples for r in run.rollbacks for b in r.left_out])
        claim("reasons", [r.reason for r in run.rollbacks])
        claim("asked by", [r.asked_by for r in run.rollbacks])
        claim("saw it", self.saw_it)


class GoesBack(Callback):
    """One rank asks, once, to go back after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, run: Run) -> None:
        due = run.progress.steps_completed >= self.step and not run.rollbacks
        if due and run.world.is_global_zero:
            run.roll_back("a test")

    def on_fit_end(self, run: Run) -> None:
        claim("taken back", (run.taken_back, [one.to_step for one in run.rollbacks]))


class Reads(Callback):
    """Each rank reads the best weights right after they were measured."""

    runs_after = ("best_checkpoint",)

    def __init__(self, best: BestCheckpoint) -> None:
        self.best = best

    def on_log(self, run: Run, record: Any) -> None:
        if run.world.is_global_zero:
            may_write.set()
        claim("read the best", self.best.best_weights(run) is not None)


may_write = threading.Event()
writing = weight_files.write_weights


def late(*arguments: Any) -> None:
    """Write weights once they are asked for."""
    may_write.wait(60)
    may_write.clear()
    writing(*arguments)


def trainer(directory: Path, *callbacks: Callback) -> Trainer:
    return Trainer(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1)),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        seed=2,
        defaults=False,
        callbacks=[
            *(() if any(isinstance(one, Checkpoint) for one in callbacks) else [saves()]),
            *callbacks,
        ],
        settings=Settings(directory=directory, log_every="2 steps"),
    )


def saves(**options: Any) -> Checkpoint:
    return Checkpoint(Every(steps=2, first=True), **options)


def weights(one: Trainer) -> list[float]:
    return torch.cat([p.detach().flatten() for p in one.models["model"].parameters()]).tolist()


def rows(result: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in result.history.rows()]


if __name__ == "__main__":
    inputs = torch.rand(SAMPLES, 3, generator=torch.Generator().manual_seed(1))
    inputs[BAD] = float("nan")
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True).nan_to_num(0.0))
    first = trainer(Path(sys.argv[1]) / "run", TerminateOnNonFinite("roll_back"), Notes())
    result = first.fit(DataLoader(data, SIZE, shuffle=True), epochs=2)
    never = trainer(Path(sys.argv[1]) / "never")
    sampler = Without(RandomSampler(data), SIZE, drop_last=False)
    expected = never.fit(DataLoader(data, batch_sampler=sampler), epochs=2)
    claim("outcome", result.outcome.status)
    claim("same weights", weights(first) == weights(never))
    claim("same rows", rows(result) == rows(expected))

    spent = trainer(Path(sys.argv[1]) / "spent", TerminateOnNonFinite("roll_back", max_rollbacks=1))
    claim("spent", spent.fit(DataLoader(data, SIZE, shuffle=True), epochs=2).outcome.reason)
    stopped = trainer(Path(sys.argv[1]) / "stopped", TerminateOnNonFinite())
    ended = stopped.fit(DataLoader(data, SIZE, shuffle=True), epochs=1).outcome
    claim("stopped", ended.reason)
    claim("weights after a stop", bool(torch.tensor(weights(stopped)).isfinite().all()))

    whole = inputs.nan_to_num(0.0)
    taken = TensorDataset(whole, whole.sum(1, keepdim=True))
    lasting = Path(sys.argv[1]) / "taken back"
    trainer(lasting, saves(keep_last=None)).fit(DataLoader(taken, SIZE), steps=6)
    claim("saved", sorted(place.name for place in (lasting / "checkpoints").glob("step-*")))
    back = trainer(lasting, GoesBack(3), Checkpoint("100 steps"))
    back.fit(DataLoader(taken, SIZE), steps=6, resume=2)

    vars(best_checkpoint)["write_weights"] = late
    best = BestCheckpoint("train/loss", keep=9)
    reading = trainer(Path(sys.argv[1]) / "reading", best, Reads(best))
    reading.fit(DataLoader(taken, SIZE), steps=2)
