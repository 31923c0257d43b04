"""Loaders with worker processes, through the trainer and in a loop written by hand.

1,280 light images of 3 x 32 x 32 in shuffled batches of 32, an MLP, two epochs, an evaluation after
each; both loaders have workers. The time is that of the whole run: workers that are started once
for all passes, and workers that are started for each pass.

    python -m benchmarks.workers
"""

from __future__ import annotations

import tempfile
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.epochs import evaluate_by_hand
from benchmarks.report import Figure, main, ratios
from trackside import Settings, Trainer

TRAINING, VALIDATION, BATCH, EPOCHS = 1280, 640, 32, 2
ROUNDS = 9
BUDGET = 1.02


class Images(Dataset[tuple[Tensor, int]]):
    """Images that are made when they are asked for: normalized, and flipped or not."""

    def __init__(self, count: int) -> None:
        self._bytes = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._bytes[index].float().div_(255).sub_(0.5)
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), index % 10


def loaders(workers: int, *, persistent: bool) -> list[DataLoader[Any]]:
    """Those of training and validation, as everybody writes them."""
    return [
        DataLoader(
            Images(count),
            BATCH,
            shuffle=shuffled,
            num_workers=workers,
            persistent_workers=persistent,
        )
        for count, shuffled in ((TRAINING, True), (VALIDATION, False))
    ]


def build() -> nn.Module:
    """The model, from the same seed each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 128), nn.ReLU(), nn.Linear(128, 10))


def by_hand(workers: int, *, persistent: bool) -> float:
    """Seconds of the loop that everybody writes."""
    train, validation = loaders(workers, persistent=persistent)
    model, loss_of = build(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    started = perf_counter()
    for _ in range(EPOCHS):
        pass_by_hand(model, loss_of, optimizer, train)
        evaluate_by_hand(model, loss_of, validation)
    del train, validation  # their workers end
    return perf_counter() - started


def pass_by_hand(model: nn.Module, loss_of: nn.Module, optimizer: Any, data: Any) -> None:
    """The steps of an epoch."""
    model.train()
    for inputs, target in data:
        loss_of(model(inputs), target).backward()
        optimizer.step()
        optimizer.zero_grad()


def by_trainer(workers: int, *, persistent: bool) -> float:
    """Seconds of the same by the trainer."""
    train, validation = loaders(workers, persistent=persistent)
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            build(),
            loss=nn.CrossEntropyLoss(),
            optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3),
            defaults=False,
            settings=Settings(device="cpu", directory=directory),
        )
        started = perf_counter()
        trainer.fit(train, validation, epochs=EPOCHS)
        del trainer, train, validation
        return perf_counter() - started


def measure() -> list[Figure]:
    """All figures of loaders with workers."""
    torch.set_num_threads(1)
    figures: list[Figure] = []
    for workers in (1, 2):
        for persistent in (True, False):
            kept = "kept" if persistent else "started for each pass"
            name = f"2 epochs and evaluations, {workers} workers {kept}, over a raw loop"
            figures += ratios(
                {name: lambda w=workers, p=persistent: by_trainer(w, persistent=p)},  # type: ignore[misc]
                lambda w=workers, p=persistent: by_hand(w, persistent=p),  # type: ignore[misc]
                rounds=ROUNDS,
                budgets={name: BUDGET},
            )
    return figures


if __name__ == "__main__":
    main("workers", measure)
