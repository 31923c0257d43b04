"""A training with everything that makes an exact resume hard; tells every batch and every step.

`python -m tests.faults.programs.long_run FOLDER` prints what it tells as JSON, one line each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed.checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tests.device import DEVICE
from trackside import Callback, Run, Scheduler, Settings, Trainer, accuracy
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.data.seekable import SeekableSampler
from trackside.run import Evaluation

Tell = Callable[[list[Any]], None]


@dataclass(frozen=True)
class Options:
    """One training. Every kill of a campaign is followed by the same."""

    directory: str
    workers: int = 2
    augmented: bool = True
    accumulate: int = 2
    precision: Literal["fp32", "bf16"] = "fp32"
    scheduler: Literal["none", "step", "epoch", "plateau"] = "step"
    background: bool = True
    writer: Literal["auto", "process", "thread"] = "auto"
    epochs: int = 6
    end_after_epoch: int | None = None
    """Ask for the end once so many epochs are done."""
    save_every: str = "3 steps"
    broken: bool = False
    """The sampler forgets its position."""


class Points(Dataset[tuple[Tensor, Tensor]]):
    """Points, with noise from all three generators where augmented; drawn by whoever loads them."""

    def __init__(self, augmented: bool) -> None:
        self.augmented = augmented

    def __len__(self) -> int:
        return 46

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        point = torch.linspace(-1, 1, 46)[index].repeat(4)
        if self.augmented:
            point += 0.1 * (torch.rand(4) + float(np.random.rand()) + random.random())
        return point, torch.tensor(int(index > 22))


class Report(Callback[Run]):
    """Tells each step, its loss and the samples in it: repeats and skips can be seen."""

    def __init__(self, tell: Tell, end_after_epoch: int | None = None) -> None:
        self.tell = tell
        self.end_after_epoch = end_after_epoch

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        seen = digest([batch[0]])[:16]
        loss = digest([output["loss"] if isinstance(output, dict) else output.loss])[:16]
        self.tell(["batch", run.progress.batches_completed, f"{seen} {loss}"])

    def on_step_end(self, run: Run) -> None:
        self.tell(["step", run.progress.steps_completed])

    def on_evaluation_batch_start(self, run: Run, evaluation: Evaluation, batch: Any) -> None:
        if evaluation.batches_completed == 1:
            self.tell(["evaluating", run.progress.steps_completed])

    def on_checkpoint_save(self, run: Run, state: Any) -> None:
        self.tell(["saving", run.progress.steps_completed])

    def on_epoch_end(self, run: Run, metrics: Any) -> None:
        if run.progress.epochs_completed == self.end_after_epoch:
            run.stop("the epochs that were asked for are done")

    def on_close(self, run: Run, outcome: Any) -> None:
        self.tell(["closed", str(outcome.status), outcome.step, outcome.exit_code])


def digest(tensors: Any) -> str:
    raw = [t.detach().cpu().flatten().view(torch.uint8).numpy().tobytes() for t in tensors]
    return hashlib.sha256(b"".join(raw)).hexdigest()


def train(options: Options, tell: Tell) -> int:
    """Train to the end, or go on from where a former life was killed. Returns the exit code.

    A signal that ends the run ends the program by an exception.
    """
    if options.broken:
        SeekableSampler.seek = lambda self, skip, seed: None  # type: ignore[method-assign]
    torch.set_num_threads(1)
    trainer = make(options, tell)
    train_set = DataLoader(
        Points(options.augmented),
        4,
        shuffle=True,
        num_workers=options.workers,
        multiprocessing_context="fork" if options.workers else None,
    )
    validation = Points(options.augmented)
    try:
        trainer.fit(train_set, validation, epochs=options.epochs, resume="auto")
    finally:
        _tell_end(trainer, tell)
    return 0


def _tell_end(trainer: Trainer, tell: Tell) -> None:
    result = trainer.result
    assert result is not None
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]
    final = {
        "weights": digest(trainer.models["model"].state_dict().values()),
        "rows": [sorted(row.items()) for row in rows],
        "ema": digest(_tensors(trainer.callbacks["ema"].state_dict())),
        "early_stopping": repr(sorted(trainer.callbacks["early_stopping"].state_dict().items())),
    }
    tell(["end", final])


def make(options: Options, tell: Tell) -> Trainer:
    torch.manual_seed(5)
    schedulers: dict[str, Scheduler] = {
        "step": Scheduler(
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 60), interval="step"
        ),
        "epoch": Scheduler(lambda o: torch.optim.lr_scheduler.StepLR(o, 2), interval="epoch"),
        "plateau": Scheduler(
            lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
            interval="epoch",
            monitor="val/loss",
        ),
    }
    return Trainer(
        lambda: nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        scheduler=schedulers.get(options.scheduler),
        metrics={"accuracy": accuracy},
        callbacks=[
            Report(tell, options.end_after_epoch),
            EMA(0.9),
            EarlyStopping("val/loss", patience=50),
            Checkpoint(
                every=options.save_every, background=options.background, writer=options.writer
            ),
        ],
        defaults=False,
        seed=11,
        accumulate=options.accumulate,
        precision=options.precision,
        settings=Settings(directory=Path(options.directory), log_every="5 steps", device=DEVICE),
    )


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state
    if isinstance(parts, (str, int, float, bool)) or parts is None:
        return []
    return [tensor for part in parts for tensor in _tensors(part)]


def main() -> int:
    given = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    options = dataclasses.replace(Options(sys.argv[1]), **given)
    return train(options, lambda line: print(json.dumps(line), flush=True))


if __name__ == "__main__":
    sys.exit(main())
