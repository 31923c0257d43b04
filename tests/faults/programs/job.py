"""Parts of a job on two ranks, with loader workers, that waits until it is signalled."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from trackside import Callback, Run

WAITING = "waiting-{rank}"
"""A file in the working directory that says that a rank waits for a signal."""
GO_ON = Path("go-on")
"""Where this file is, nobody waits."""


class Points(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Not a `TensorDataset`: what workers load is to be tested."""

    def __init__(self, samples: int) -> None:
        self.inputs = torch.randn(samples, 4, generator=torch.Generator().manual_seed(samples))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], (self.inputs[index].sum() > 0).long()


def loader(samples: int, shuffle: bool = False) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of eight from two workers."""
    return DataLoader(Points(samples), 8, shuffle=shuffle, num_workers=2)


class Waits(Callback):
    """Waits on every rank, once, until a signal has reached it.

    Args:
        step: In which step, counted from 1.
        place: In its last batch, or in the evaluation after it.
    """

    def __init__(self, step: int, place: str) -> None:
        self.step = step
        self.place = place

    def on_batch_end(self, run: Run, batch: object, output: object) -> None:
        if self.place == "step" and run.progress.steps_completed == self.step - 1:
            self.wait(run)

    def on_evaluation_batch_end(
        self, run: Run, evaluation: object, batch: object, o: object
    ) -> None:
        if self.place == "evaluation" and run.progress.steps_completed >= self.step:
            self.wait(run)

    def wait(self, run: Run) -> None:
        if GO_ON.exists():
            return
        Path(WAITING.format(rank=run.world.rank)).touch()
        while not run.stopping:
            threading.Event().wait(0.01)
