"""A model for which memory suffices for fewer samples on one rank than on the other."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import DDP, Output, Settings, Trainer
from trackside.run import Run

X = torch.randn(23, 3, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(X, X.sum(1, keepdim=True).sin())


class Greedy(nn.Module):
    """Rank 1 has memory for `limit` samples at once; a layer that takes no part there, at first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(3, 1), nn.Linear(3, 1)
        self.limit, self.rank = limit, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.rank == 1 and len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        made: Tensor = self.layer(x)
        return made + self.other(x) if self.rank == 0 else made


class Weighs(Trainer):
    """Its steps say what a batch weighs."""

    def training_step(self, run: Run, batch: Any) -> Output:
        x, y = batch
        weight = x[:, 0].abs()
        each = (run.model(x) - y).square().mean(1)
        return Output((each * weight).sum() / weight.sum(), weight=weight.sum())

    def on_fit_start(self, run: Run) -> None:
        setattr(run.model, "rank", run.world.rank)  # noqa: B010 - a module is typed by tensors


class Counts(Trainer):
    def on_fit_start(self, run: Run) -> None:
        setattr(run.model, "rank", run.world.rank)  # noqa: B010 - a module is typed by tensors


def train(kind: type[Trainer], folder: Path, limit: int, halve: int | None) -> tuple[Any, Trainer]:
    made = kind(
        partial(Greedy, limit),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
        accumulate=2,
        defaults=False,
        seed=0,
        settings=Settings(
            directory=folder,
            device="cpu",
            halve_batches_to=halve,
            strategy=DDP(find_unused_parameters=True),
        ),
    )
    return made.fit(DATA, epochs=2, batch_size=8), made


def main(folder: Path) -> None:
    for kind in (Weighs, Counts):
        _, whole = train(kind, folder / f"{kind.__name__}-whole", 100, None)
        result, parts = train(kind, folder / f"{kind.__name__}-parts", 2, 1)
        expected = [p.detach() for p in whole.models["model"].parameters()]
        found = [p.detach() for p in parts.models["model"].parameters()]
        same = all(
            torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(expected, found, strict=True)
        )
        claim(f"{kind.__name__} trains the same", same)
        claim(f"{kind.__name__} parts", [[one.step, one.samples] for one in result.halvings])
        claim(f"{kind.__name__} weights", [float(p.sum()) for p in found])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
