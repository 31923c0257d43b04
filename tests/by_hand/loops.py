"""Loops written by hand, with and without the engine around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trackside import attach
from trackside.by_hand.attached import Attachment

EPOCHS = 3
BATCHES = 6


@dataclass
class Parts:
    """What a loop needs, made from a seed: dropout, shuffling, a last batch that is ragged."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    loader: DataLoader[Any]

    def attach(self, *callbacks: Any, **options: Any) -> Attachment:
        """An attachment to a loop over these parts."""
        own: dict[str, Any] = {"directory": Path("run"), "state": {"scheduler": self.scheduler}}
        return attach(
            model=self.model,
            optimizers=self.optimizer,
            loader=self.loader,
            callbacks=callbacks,
            **{**own, **options},
        )

    def loss_of(self, batch: Any) -> Tensor:
        """The mean loss of a batch."""
        inputs, target = batch
        return ((self.model(inputs) - target) ** 2).mean()

    def update(self) -> None:
        """The update, and the end of the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()


class Noisy(Dataset[Any]):
    """Samples that draw noise while they are loaded."""

    def __init__(self, samples: int) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs = torch.full((4,), index / 10) + 0.1 * torch.randn(4)
        return inputs, inputs.sum(0, keepdim=True)


def parts(*, noisy: bool = False, workers: int = 0) -> Parts:
    """New parts, always the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
    optimizer = Adam(model.parameters(), lr=0.01)
    inputs = torch.randn(22, 4)
    data: Dataset[Any] = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    loader = DataLoader(
        Noisy(22) if noisy else data, batch_size=4, shuffle=True, num_workers=workers
    )
    return Parts(model, optimizer, StepLR(optimizer, 5, 0.5), loader)


def raw(made: Parts, accumulate: int = 1) -> None:
    """The loop without anything around it."""
    for _ in range(EPOCHS):
        for number, batch in enumerate(made.loader):
            made.loss_of(batch).backward()
            if (number + 1) % accumulate == 0:
                made.update()


def attached(made: Parts, run: Any, accumulate: int = 1) -> None:
    """The same loop in an attachment."""
    for _ in run.epochs(EPOCHS):
        for number, batch in enumerate(run.batches()):
            loss = made.loss_of(batch)
            loss.backward()
            run.batch_done(loss)
            if (number + 1) % accumulate == 0:
                made.update()
                run.step_done()


def weights(made: Parts) -> Tensor:
    """A copy of all parameters."""
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])
