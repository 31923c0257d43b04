"""Small runs in remote folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.outcome import Status

ADDRESS = "faulty://bucket/run"
DATA = TensorDataset(torch.arange(36.0).reshape(12, 3) / 36, torch.ones(12, 1))


def trainer(mirror: Path | None, *more: Any, address: str = ADDRESS, **options: Any) -> Trainer:
    given: dict[str, Any] = {"every": "2 steps", "keep_last": 2, **options}
    return Trainer(
        lambda: nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.1)),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.Adam(p, lr=0.1),
        seed=0,
        defaults=False,
        callbacks=[Checkpoint(**given), *more],
        settings=Settings(directory=address, mirror=mirror),
    )


def train(
    mirror: Path | None, epochs: int = 2, resume: Any = None, *more: Any, **options: Any
) -> Any:
    """The weights at the end, as numbers."""
    made = trainer(mirror, *more, **options)
    result = made.fit(DATA, batch_size=2, epochs=epochs, resume=resume)
    assert result.outcome.status in (Status.COMPLETED, Status.STOPPED)
    return [p.tolist() for p in made.models["model"].parameters()]


def unbroken(tmp_path: Path, epochs: int) -> Any:
    """The weights of a run that was never stopped, in a folder of this machine."""
    made = trainer(None, address=str(tmp_path / "unbroken"))
    made.fit(DATA, batch_size=2, epochs=epochs)
    return [p.tolist() for p in made.models["model"].parameters()]


def data() -> TensorDataset:
    """The training data, for a file."""
    return DATA
