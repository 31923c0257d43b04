"""A training with everything that makes an exact resume hard; prints a line per step.

Arguments: the run's folder, and `broken` for the variant whose sampler forgets its position.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trackside import Callback, Run, Scheduler, Settings, Trainer, accuracy
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.stopping.early_stopping import EarlyStopping


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Points with noise from all three generators, drawn in the workers."""

    def __len__(self) -> int:
        return 46

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = torch.rand(4) + float(np.random.rand()) + random.random()
        point = torch.linspace(-1, 1, 46)[index].repeat(4)
        return point + 0.1 * noise, torch.tensor(int(index > 22))


class Report(Callback):
    """Tells each step and the samples in it, so that repeats and skips can be seen."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        seen = hashlib.sha256(batch[0].numpy().tobytes()).hexdigest()[:16]
        print(json.dumps(["batch", run.progress.batches_completed, seen]), flush=True)

    def on_step_end(self, run: Run) -> None:
        print(json.dumps(["step", run.progress.steps_completed]), flush=True)


def digest(tensors: Any) -> str:
    raw = b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)
    return hashlib.sha256(raw).hexdigest()


def main() -> None:
    directory = Path(sys.argv[1])
    if "broken" in sys.argv:
        from trackside.winding import Winder

        Winder.wind = lambda self, skip, seed: None  # type: ignore[method-assign]
    torch.set_num_threads(1)
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        scheduler=Scheduler(
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 60), per="step"
        ),
        metrics={"accuracy": accuracy},
        callbacks=[
            Report(),
            EMA(0.9),
            EarlyStopping("val/loss", patience=50),
            Checkpoint(every="3 steps"),
        ],
        defaults=False,
        seed=11,
        accumulate=2,
        settings=Settings(directory=directory, log_every="5 steps", device="cpu"),
    )
    train = DataLoader(Augmented(), 4, shuffle=True, num_workers=2)
    result = trainer.fit(train, Augmented(), epochs=6, resume="auto")
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]
    weights = digest(trainer.models["model"].state_dict().values())
    states = repr(sorted(trainer.callbacks["early_stopping"].state_dict().items()))
    averaged = digest(_tensors(trainer.callbacks["ema"].state_dict()))
    final = {"weights": weights, "rows": rows, "ema": averaged, "early_stopping": states}
    print(json.dumps(["end", final]), flush=True)


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state
    if isinstance(parts, (str, int, float, bool)) or parts is None:
        return []
    return [tensor for part in parts for tensor in _tensors(part)]


if __name__ == "__main__":
    main()
