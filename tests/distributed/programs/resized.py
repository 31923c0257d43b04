"""Saves in the middle of an epoch, and goes on from what others saved on other numbers of ranks.

Arguments: the folder, then what to do: `ddp` or `fsdp` (train, and save), or `fsdp=ddp-1` (go on,
sharded, from what one process saved).
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import EMA, EarlyStopping
from trackside.callbacks.saving.checkpoint import Checkpoint

RANKS = int(os.environ.get("WORLD_SIZE", "1"))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return getattr(tensor.detach(), "full_tensor", tensor.detach)()


def contents(run: Run) -> dict[str, str]:
    """Digests of everything that a resume has to bring back."""
    tensors = {f"model.{name}": value for name, value in run.model.state_dict().items()}
    for index, slots in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    tensors |= {f"ema.{name}": value for name, value in run.callbacks[EMA].weights().items()}
    return {
        name: hashlib.sha256(whole(value).cpu().contiguous().numpy().tobytes()).hexdigest()
        for name, value in sorted(tensors.items())
    }


class Contents(Callback):
    """What there is when the first checkpoint is made, or before the first step of a resume."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def on_fit_start(self, run: Run) -> None:
        if run.resumed_from is not None:
            self.found = contents(run)

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        self.found = self.found or contents(run)


def fit(root: Path, name: str, parallel: str, resume: Path | None = None) -> None:
    """Two epochs of 40 steps; claims what there was, what was recorded, and how it ended."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(159, 8, generator=generator, dtype=torch.float64)
    data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    seen = Contents()
    # Ranks agree a few steps later, the more the shorter the steps, but within the first epoch.
    saves = Checkpoint("9 steps", keep_last=None, at_end=False)
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(8, 15), nn.Tanh(), nn.Linear(15, 2)).double(),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5),
        seed=1,
        settings=Settings(directory=root / name, log_every="7 steps", strategy=parallel),
        defaults=False,
        callbacks=[EMA(0.9), EarlyStopping("val/loss", patience=9), saves, seen],
    )
    result = trainer.fit(data, data, epochs=2, batch_size=4, resume=resume)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]
    weights = [whole(p).flatten().tolist() for p in trainer.models["model"].parameters()]
    claim(f"{name}: contents", seen.found)
    claim(f"{name}: rows", rows)
    claim(f"{name}: weights", weights)


def main() -> None:
    root = Path(sys.argv[1])
    for task in sys.argv[2:]:
        parallel, _, saved = task.partition("=")
        if saved:
            first = min((root / saved / "checkpoints").glob("step-*"))
            claim(f"{saved}: saved at", int(first.name.removeprefix("step-")))
            fit(root, f"{saved} to {parallel}-{RANKS}", parallel, first)
        else:
            fit(root, f"{parallel}-{RANKS}", parallel)


if __name__ == "__main__":
    main()
