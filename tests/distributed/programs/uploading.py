"""Ranks that upload together, are ended, and go on elsewhere from what is in remote storage."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.remote.address import Address
from trackside.remote.fetching import read_contents
from trackside.remote.patience import Patience
from trackside.remote.store import Store
from trackside.run import Run

DATA = TensorDataset(torch.arange(72.0).reshape(24, 3) / 72, torch.ones(24, 1))
EPOCHS, SIZE = 3, 4


class Killed(Callback):
    """All ranks are killed two steps after they hear of a checkpoint, once one is uploaded."""

    def __init__(self, address: str) -> None:
        self.store = Store(Address(address))
        self.saved_at: int | None = None

    def on_checkpoint_saved(self, run: Run, path: Path) -> None:
        self.saved_at = self.saved_at or run.progress.steps_completed

    def on_step_end(self, run: Run) -> None:
        if self.saved_at is not None and run.progress.steps_completed == self.saved_at + 2:
            if run.world.is_global_zero:
                patience = Patience(str(self.store.address), "", 60.0)
                while not read_contents(self.store, patience).checkpoints:
                    pass
            run.world.barrier()
            os.kill(os.getpid(), signal.SIGKILL)


class Notes(Callback):
    """From where this rank goes on."""

    def on_fit_start(self, run: Run) -> None:
        claim("went on from step", run.progress.steps_completed)


def train(directory: str, mirror: Path | None, resume: Any, *callbacks: Callback) -> Any:
    """Train to the end; how it ended, and the weights."""
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1)),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.Adam(p, lr=0.05),
        seed=1,
        defaults=False,
        callbacks=[Checkpoint("1 epoch", keep_last=2, background=False), *callbacks],
        settings=Settings(directory=directory, mirror=mirror),
    )
    result = trainer.fit(DATA, batch_size=SIZE, epochs=EPOCHS, resume=resume)
    weights = [p.tolist() for p in trainer.models["model"].parameters()]
    return result.outcome.status, weights


if __name__ == "__main__":
    address, folder = sys.argv[1], Path(sys.argv[2])
    if sys.argv[3:] == ["killed"]:
        train(address, folder / "killed", None, Killed(address))
    outcome, weights = train(address, folder / "elsewhere", "auto", Notes())
    claim("outcome", outcome)
    unbroken = train(str(folder / "unbroken"), None, None)
    claim("as the unbroken run", (outcome, weights) == unbroken)
