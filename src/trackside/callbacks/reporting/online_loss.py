"""`OnlineLoss`."""

from __future__ import annotations

from typing import Any, final

from trackside.lifecycle.periodic import PeriodicCallback
from trackside.run import Rollback, Run
from trackside.saved import checked
from trackside.schedule import Schedule
from trackside.step.means import BLOCK, Mean
from trackside.step.output import as_output


@final
class OnlineLoss(PeriodicCallback):
    """Records the mean training loss over a separate interval, as `online/loss`.

    For an interval other than that of the records: a smooth loss over 1,000 steps beside
    `train_recent/loss` of the last 50. It is weighted by samples, or by what the step returns as
    `weight`, over all ranks, and stands in the record that is made next. Nobody waits for the
    device.

    Args:
        every: The interval.

    Example:
        >>> OnlineLoss("50_000 samples")
        OnlineLoss('50,000 samples')
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    logs = ("online/loss",)

    def __init__(self, every: str | Schedule = "1000 steps") -> None:
        super().__init__(every)
        self._mean = Mean()
        self._weight = 0.0
        self._loaded: dict[str, Any] | None = None

    def on_attach(self, run: Run) -> None:
        self._mean, self._weight = Mean(), 0.0
        self._loaded = None

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._take_over(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        super().on_roll_back(run, rollback)
        self._take_over(run)

    def _take_over(self, run: Run) -> None:
        """The mean of a checkpoint, once the device is known."""
        if self._loaded is not None:
            self._mean.load_state_dict(self._loaded, run.device)
            self._loaded = None

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        found = as_output(output)
        weight = run.batch_samples if found.weight is None else found.weight
        self._mean.begin_step(run.progress.steps_completed)
        self._mean.keep((found.loss.detach(), weight))
        self._weight += run.batch_samples

    def on_step_end(self, run: Run) -> None:
        if run.step_was_skipped:
            self._mean.leave_out(run.progress.steps_completed - 1)
        if self._mean.waiting >= BLOCK:
            self._mean.fold()
        super().on_step_end(run)

    def on_due(self, run: Run) -> None:
        self._mean.fold()
        if self._mean.recent is not None:
            total, weight = self._mean.recent
            run.log("online/loss", total / weight, self._weight)
        self._mean, self._weight = Mean(), 0.0

    def state_dict(self) -> dict[str, Any]:
        mean = self._mean.state_dict() if self._loaded is None else self._loaded
        return {"mean": mean, "weight": self._weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        checked(state, mean=dict[str, Any], weight=float)
        self._loaded = dict(state["mean"])
        self._weight = state["weight"]
