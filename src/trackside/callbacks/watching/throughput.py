"""`Throughput`."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, final

from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation, Run

if TYPE_CHECKING:
    from torch import Tensor


@final
class Throughput(Callback):
    """Records how fast training goes, since the last record and without the evaluations.

    - `throughput/samples_per_second`: over all ranks.
    - `throughput/steps_per_second`
    - `throughput/data_wait_share`: share of the time in which the loop waited for data, 0 to 1.
      More than a few per cent: give the loader more workers.
    - `throughput/tokens_per_second`: with `tokens=True`; over all ranks.

    Args:
        tokens: Whether the `weight` that `training_step` returns counts tokens. Costs an addition
            on the device per batch.

    Example:
        >>> Throughput()
        Throughput()
    """

    effect = "observes"
    on_error = "warn"
    calls_collectives = True
    logs = ("throughput/*",)

    def __init__(self, *, tokens: bool = False) -> None:
        self.tokens = tokens
        self.unused_hooks = frozenset() if tokens else frozenset({"on_batch_end"})
        self._began = self._evaluation_began = 0.0
        self._steps = self._samples = 0
        self._data_wait_seconds = 0.0
        self._tokens: Tensor | float = 0.0

    def on_train_epoch_start(self, run: Run) -> None:
        self._mark(run)

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        weight = output.get("weight") if isinstance(output, dict) else getattr(output, "weight", 0)
        if weight is not None:
            self._tokens = self._tokens + weight

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self._evaluation_began = perf_counter()

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        self._began += perf_counter() - self._evaluation_began

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        steps = run.progress.steps_completed - self._steps
        if steps == 0:
            return
        # Before the clock is asked, which may say something else on each rank.
        tokens = run.world.all_reduce(float(self._tokens), "sum") if self.tokens else 0.0
        seconds = perf_counter() - self._began
        if seconds <= 0:
            return
        samples = run.progress.samples_completed - self._samples
        waited = run.data_wait_seconds - self._data_wait_seconds
        values["throughput/samples_per_second"] = samples / seconds
        values["throughput/steps_per_second"] = steps / seconds
        values["throughput/data_wait_share"] = waited / seconds
        if self.tokens:
            values["throughput/tokens_per_second"] = tokens / seconds
        self._mark(run)

    def _mark(self, run: Run) -> None:
        self._began = perf_counter()
        self._steps = run.progress.steps_completed
        self._samples = run.progress.samples_completed
        self._data_wait_seconds = run.data_wait_seconds
        self._tokens = 0.0
