"""Exact resume in a loop by hand: it is killed in the middle of an epoch, and goes on bitwise.

python examples/kept_loop.py            # trains; the same again goes on, or says that all is done
python examples/kept_loop.py --show     # trains twice, once killed on the way, and compares
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trackside import resume


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Points with noise that is drawn when they are loaded."""

    def __len__(self) -> int:
        return 90

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs = torch.linspace(0, index / 90, 4) + 0.1 * torch.randn(4)
        return inputs, inputs.sum(0, keepdim=True)


def train(folder: Path, die_at: int | None = None) -> str:
    """Train, or go on; the digest of the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(Noisy(), batch_size=8, shuffle=True)
    with resume.keep(
        folder, model=model, optimizer=optimizer, loader=loader, every="5 steps"
    ) as run:
        for _ in run.epochs(5):
            for inputs, target in run.batches():
                loss = nn.functional.mse_loss(model(inputs), target)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
                run.step_done(loss)
                if run.progress.steps_completed == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
    if run.resumed_from is not None:
        print(f"went on from {run.resumed_from.name}")
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(weights).hexdigest()[:16]


def show() -> None:
    """Train once without a stop, once with a kill on the way, and compare the weights."""
    with tempfile.TemporaryDirectory() as folder:
        whole = train(Path(folder, "whole"))
        killed = Path(folder, "killed")
        command = [sys.executable, __file__, str(killed), "--die-at", "33"]
        code = subprocess.run(command, check=False).returncode
        print(f"killed at step 33 by signal {-code}")
        again = train(killed)
    print(f"never killed: {whole}, killed and gone on: {again}")
    if whole != again:
        raise SystemExit("the weights differ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/kept"))
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--die-at", type=int)
    given = parser.parse_args()
    if given.show:
        show()
    else:
        print(train(given.folder, given.die_at))
