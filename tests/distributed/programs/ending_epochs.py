"""Two ranks: one asks for the end of an epoch, and the clock of rank 0 decides on evaluations."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Settings, Trainer
from trackside.callbacks import Checkpoint, Evaluate
from trackside.callbacks.evaluation import time_share
from trackside.run import Run
from trackside.trainer.settings import Result

EPOCH_STEPS = 16


class Ends(Callback):
    """On rank 1 alone in the first epoch, on both at one step in the second."""

    def on_step_end(self, run: Run) -> None:
        epoch, step = run.progress.epochs_completed, run.progress.epoch_steps_completed
        if epoch == 0 and step == 2 and run.world.rank == 1:
            run.end_epoch("enough of it")
        if epoch == 1 and step == 3:
            run.end_epoch("enough of it", all_ranks=True)


def clock_of(rank: int) -> Any:
    """On rank 0 each evaluation takes a million seconds, on rank 1 none."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1e6 * (rank == 0)
        return now

    return clock


def fit(folder: Path, *callbacks: Callback[Any], **given: Any) -> tuple[Result, list[float]]:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Linear(2, 1)

    trainer = Trainer(
        network,
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        callbacks=list(callbacks),
        defaults=False,
        seed=1,
        settings=Settings(directory=folder, device="cpu"),
    )
    inputs = torch.rand(8 * EPOCH_STEPS, 2, generator=torch.Generator().manual_seed(1))
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    options: dict[str, Any] = {"epochs": 3, "batch_size": 8, "data": {"dev": data}, **given}
    result = trainer.fit(data, **options)
    weights = [p.detach().flatten() for p in trainer.models["model"].parameters()]
    return result, torch.cat(weights).tolist()


def main(folder: Path) -> None:
    result, weights = fit(folder / "run", Ends(), Checkpoint("1 epoch", keep_last=None))
    claim("ended", [[one.epoch, one.step, one.asked_by] for one in result.ended_epochs])
    claim("steps", result.outcome.step)
    first = min((folder / "run" / "checkpoints").glob("step-*"))
    again, resumed = fit(folder / "again", Ends(), resume=first)
    claim("resumed", [resumed == weights, again.ended_epochs == result.ended_epochs])

    rank = int(os.environ["RANK"])
    time_share.__dict__["perf_counter"] = clock_of(rank)
    within = Evaluate("dev", "4 steps", time_percent=50)
    shared, _ = fit(folder / "shared", within, epochs=1)
    claim("evaluated", [step for step, _ in shared.history.points("dev/loss")])
    time_share.__dict__["perf_counter"] = clock_of(1 - rank)
    shared, _ = fit(folder / "other", Evaluate("dev", "4 steps", time_percent=50), epochs=1)
    claim("evaluated by the other clock", len(shared.history.points("dev/loss")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
