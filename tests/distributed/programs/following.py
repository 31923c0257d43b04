"""Two ranks resume honestly, and with another data set: each rank compares its part."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch
from claims import claim
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.distributed import RankInfo


class Kept(logging.Handler):
    """Keeps what is said of a resume."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "does not go on" in (text := record.getMessage()):
            self.said.append(text)


def points(seed: int) -> TensorDataset:
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def train(folder: Path, seed: int, resume: Path | None = None) -> list[str]:
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1)),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05),
        callbacks=[Checkpoint("7 steps", keep_last=None)],
        settings=Settings(device="cpu", directory=folder),
        defaults=False,
        seed=0,
    )
    logging.getLogger("trackside").addHandler(kept := Kept())
    trainer.fit(points(seed), steps=16, batch_size=8, resume=resume)
    logging.getLogger("trackside").removeHandler(kept)
    return kept.said


if __name__ == "__main__":
    folder = Path(sys.argv[1]) / "run"
    train(folder, 0)
    rank = RankInfo.from_environment().rank
    [notes] = (folder / "checkpoints").glob(f"following.*.{rank}.jsonl")
    claim("noted", len(notes.read_text().splitlines()))
    place = min((folder / "checkpoints").glob("step-*"))
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    claim("honest", [said for _ in range(times) for said in train(folder, 0, resume=place)])
    claim("replaced", [train(folder, 1 + n, resume=place)[:1] for n in range(times)])
