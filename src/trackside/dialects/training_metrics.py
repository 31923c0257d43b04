"""The trainer's metrics over training batches, for callbacks that read them in `logs`.

A run computes them in evaluations; other trainers compute them in training as well. Where one of
their callbacks is there, functions of prediction and target are: of each batch for its end, and as
means that become part of the records, under `train/`, for the end of the epoch.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trackside.dialects.view import so_far
from trackside.run import Run
from trackside.step.metrics import Metric, MetricFunction, MetricLog
from trackside.step.output import as_output

PLACE = "training_metrics"
"""Where a run keeps who computes them."""


class TrainingMetrics:
    """Computes the metrics of one run, for all callbacks that read them.

    Args:
        run: The run.
        functions: By name.
    """

    def __init__(self, run: Run, functions: dict[str, MetricFunction]) -> None:
        self.functions = functions
        self.of_batch: dict[str, Tensor] = {}
        """Values for the batch that was just trained on."""
        self._log = run.metric_log
        self._waiting: dict[str, int] | None = None
        self._decided = False

    def begin(self) -> None:
        """A batch begins: note what is logged so far, where that isn't known yet."""
        if not self._decided:
            self._waiting = {name: self._count(name) for name in self.functions}

    def end(self, run: Run, output: Any) -> None:
        """Compute and log the metrics of a batch."""
        if not self._decided and self._waiting is not None:
            # The step may log the same metric itself: its values are the ones that count then.
            before, self._decided = self._waiting, True
            self.functions = {
                n: f for n, f in self.functions.items() if self._count(n) == before[n]
            }
        self.of_batch = _computed(self.functions, output)
        for name, value in self.of_batch.items():
            run.log(f"train/{name}", value)

    def _count(self, name: str) -> int:
        assert isinstance(self._log, MetricLog)
        return self._log.mean(f"train/{name}").waiting


def functions_of(run: Run) -> dict[str, MetricFunction]:
    """The trainer's metrics that are plain functions; those with states are left to evaluations."""
    metrics = getattr(run.steps, "metrics", {})
    return {name: one for name, one in metrics.items() if not isinstance(one, Metric)}


def of_batch(run: Run) -> dict[str, Tensor]:
    """Metrics of the training batch in hand; empty where nobody computes them."""
    found: TrainingMetrics | None = so_far(run, "_dialects").get(PLACE)
    return {} if found is None else found.of_batch


def metrics_of(run: Run, output: Any) -> dict[str, Tensor]:
    """Metrics of a batch by name, as functions of what the step returned for it."""
    return _computed(functions_of(run), output)


def _computed(functions: dict[str, MetricFunction], output: Any) -> dict[str, Tensor]:
    said = as_output(output)
    if said.prediction is None or said.target is None:
        return {}
    prediction = said.prediction
    if isinstance(prediction, Tensor):
        prediction = prediction.detach()
    return {name: function(prediction, said.target) for name, function in functions.items()}
