"""Runs that the tests of proofs make again: small, seeded, with whatever draws random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, Program, Run, Settings, Trainer, accuracy, program
from trackside.callbacks import Checkpoint, Receipt


def points(count: int, seed: int) -> TensorDataset:
    """Points of four coordinates, and whether their sum is positive."""
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def network() -> nn.Module:
    """A small network with dropout and batch norm."""
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
    )


def made(
    directory: str,
    *,
    lr: float = 0.05,
    every: str = "7 steps",
    log_every: str = "1 step",
    callbacks: Any = (),
    model: Any = network,
    **options: Any,
) -> Trainer:
    """A trainer that saves every checkpoint and none of the rest."""
    own: dict[str, Any] = {
        "loss": nn.CrossEntropyLoss(),
        "metrics": {"accuracy": accuracy},
        "defaults": False,
        "seed": 0,
    }
    return Trainer(
        model,
        optimizer=lambda p: torch.optim.AdamW(p, lr=lr),
        callbacks={
            "checkpoint": Checkpoint(every=every, keep_last=None, background=False),
            "provenance": provenance(),
            "history": history(),
            **dict(callbacks),
        },
        settings=Settings(device="cpu", directory=Path(directory), log_every=log_every),
        **{**own, **options},
    )


def provenance() -> Any:
    """The default that writes what a run is made of."""
    from trackside.callbacks.reporting.provenance import Provenance

    return Provenance()


def history() -> Any:
    """The default that writes records."""
    from trackside.callbacks.reporting.json_lines_logger import JSONLinesLogger

    return JSONLinesLogger()


@program
def classes(
    directory: str,
    lr: float = 0.05,
    every: str = "7 steps",
    log_every: str = "1 step",
    epochs: int = 3,
) -> Program:
    """Two classes of points, 8 steps an epoch."""
    trainer = made(directory, lr=lr, every=every, log_every=log_every)
    options = {"epochs": epochs, "batch_size": 8}
    return Program(trainer, points(64, 0), points(16, 1), options=options)


class EndsUnseen(Callback):
    """Ends an epoch after step 11; said to observe, it takes no part when steps are made again."""

    effect = "observes"

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 11:
            run.end_epoch("enough of it")


@program
def shortened(directory: str) -> Program:
    """As `classes`, with a second epoch of three steps."""
    trainer = made(directory, callbacks={"ends": EndsUnseen()})
    return Program(trainer, points(64, 0), points(16, 1), options={"epochs": 3, "batch_size": 8})


class BreaksAt(Trainer):
    """Its step number 10 can't be trained: the loss is NaN, or an error is raised."""

    how = "nan"

    def training_step(self, run: Run, batch: Any) -> Any:
        loss = super().training_step(run, batch)
        if run.progress.steps_completed != 9:
            return loss
        if self.how == "error":
            raise ValueError("step ten is broken")
        return loss._replace(loss=loss.loss * torch.tensor(float("nan")))


@program
def broken(directory: str, how: str) -> Program:
    """As `classes`, by a trainer whose tenth step breaks."""
    plain = made(directory)
    kind: type[Trainer] = type("Broken", (BreaksAt,), {"how": how})
    trainer = kind(
        network,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.05),
        callbacks=dict(plain.callbacks.items()),
        settings=plain.settings,
        defaults=False,
        seed=0,
    )
    return Program(trainer, points(64, 0), options={"epochs": 3, "batch_size": 8})


class Noisy:
    """Points with noise that is drawn as they are loaded."""

    def __init__(self, count: int) -> None:
        self.inputs, self.target = points(count, 0).tensors

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index] + 0.1 * torch.randn(4), self.target[index]


@program
def noisy(directory: str, workers: int = 0, epochs: int = 3) -> Program:
    """As `classes`, with data that draws random numbers, in this process or in workers."""
    loader: DataLoader[Any] = DataLoader(
        Noisy(64),  # type: ignore[arg-type]
        batch_size=8,
        shuffle=True,
        num_workers=workers,
    )
    return Program(made(directory), loader, points(16, 1), options={"epochs": epochs})


@program
def receipted(
    directory: str,
    lr: float = 0.05,
    epochs: int = 3,
    key: str | None = None,
    every: str = "7 steps",
) -> Program:
    """As `classes`, with a receipt."""
    trainer = made(directory, lr=lr, every=every, callbacks={"receipt": Receipt(key)})
    options = {"epochs": epochs, "batch_size": 8}
    return Program(trainer, points(64, 0), points(16, 1), options=options)
