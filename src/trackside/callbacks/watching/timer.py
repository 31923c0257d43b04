"""`Timer`."""

from __future__ import annotations

from time import perf_counter
from typing import final

from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation, Run


@final
class Timer(Callback):
    """Records where the time goes: steps, waiting for data, callbacks, evaluations, epochs.

    - `time/step_seconds`: mean of a step since the last record, all included but evaluations.
    - `time/data_wait_seconds`: mean per step of what the loop waited for the next batch.
    - `time/callbacks_share`: share of the time since the last record that callbacks took, 0 to 1.
    - `time/evaluation_seconds`: an evaluation.
    - `time/epoch_seconds`: an epoch, its evaluations included; in a resumed run the part of it
      since the resume.

    On an accelerator, steps are queued: the host's clock shows a step's time in the mean, not in
    any single step. Nothing is measured in the step itself.

    Example:
        >>> Timer()
        Timer()
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    logs = ("time/*",)

    def __init__(self) -> None:
        self._last = self._evaluation_began = self._epoch_began = 0.0
        self._steps = 0
        self._data_wait_seconds = 0.0
        self._callback_seconds = 0.0

    def on_epoch_start(self, run: Run) -> None:
        self._epoch_began = perf_counter()

    def on_train_epoch_start(self, run: Run) -> None:
        self._callback_seconds = _in_callbacks(run)
        self._begin_interval(run)

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        steps = run.progress.steps_completed - self._steps
        elapsed = perf_counter() - self._last
        if steps == 0 or elapsed <= 0:
            return
        waited = run.data_wait_seconds - self._data_wait_seconds
        callbacks_before, self._callback_seconds = self._callback_seconds, _in_callbacks(run)
        values["time/step_seconds"] = elapsed / steps
        values["time/data_wait_seconds"] = waited / steps
        values["time/callbacks_share"] = (self._callback_seconds - callbacks_before) / elapsed
        self._begin_interval(run)

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self._evaluation_began = perf_counter()

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        seconds = perf_counter() - self._evaluation_began
        self._last += seconds  # as if it had not happened between two steps
        run.log("time/evaluation_seconds", seconds, weight=1)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        run.log("time/epoch_seconds", perf_counter() - self._epoch_began, weight=1)

    def _begin_interval(self, run: Run) -> None:
        self._last = perf_counter()
        self._steps = run.progress.steps_completed
        self._data_wait_seconds = run.data_wait_seconds


def _in_callbacks(run: Run) -> float:
    """Seconds spent in all callbacks so far."""
    return sum(run.callback_seconds.values())
