"""`TrainTime`."""

from __future__ import annotations

from statistics import fmean
from time import perf_counter
from typing import Any, final

from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.saved import checked


@final
class TrainTime(Callback):
    """Records how long the passes over the training data take, in the mean and at most over ranks.

    - `train_time/epoch_seconds_mean`, `train_time/epoch_seconds_max`: this pass, evaluations in its
      middle included; in a resumed run what was left of it.
    - `train_time/total_seconds`: all passes so far, over all resumes, on the slowest rank.

    A mean far below the maximum shows that ranks wait for one another.

    Example:
        >>> TrainTime()
        TrainTime()
    """

    effect = "observes"
    on_error = "warn"
    calls_collectives = True
    runs_in = ("fit",)
    logs = ("train_time/*",)

    def __init__(self) -> None:
        self._began = 0.0
        self._total = 0.0

    def on_attach(self, run: Run) -> None:
        self._total = 0.0

    def on_train_epoch_start(self, run: Run) -> None:
        self._began = perf_counter()

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        seconds = run.world.gather(perf_counter() - self._began)
        self._total += max(seconds)
        run.log("train_time/epoch_seconds_mean", fmean(seconds), weight=1)
        run.log("train_time/epoch_seconds_max", max(seconds), weight=1)
        run.log("train_time/total_seconds", self._total, weight=1)

    def state_dict(self) -> dict[str, Any]:
        return {"total_seconds": self._total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._total = checked(state, total_seconds=float)["total_seconds"]
