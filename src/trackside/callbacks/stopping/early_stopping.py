"""`EarlyStopping`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, final

from trackside.callbacks.stopping.patience import Patience
from trackside.errors import ConfigurationError
from trackside.history import Record, check_mode, has_improved
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.saved import is_of_metric

if TYPE_CHECKING:
    from torch import Tensor, nn


@final
class EarlyStopping(Callback):
    """Stops when a metric has not improved for a number of its evaluations.

    Args:
        monitor: Name of the metric, such as `val/loss`.
        patience: Evaluations of that metric in a row without improvement, after which training
            stops. They are counted when the metric is recorded, be it per epoch or every 100 steps.
        mode: Whether smaller (`min`) or larger (`max`) is better.
        min_delta: Smallest improvement over the best that counts, in the metric's own unit. Small
            improvements add up: they are measured from the last one that counted.
        baseline: A value to be beaten: until then nothing counts as an improvement.
        check_finite: Whether a value that is NaN or infinite stops at once.
        restore_best: Whether the models end with the weights that gave the best value. They are
            kept in memory, on the device (one more copy of the weights), and in checkpoints. A run
            that a signal interrupts keeps the newest weights, because it may be resumed.

    Raises:
        ConfigurationError: `patience` isn't a positive whole number, `min_delta` is negative.

    Example:
        >>> EarlyStopping("val/accuracy", mode="max", patience=5, min_delta=0.001)
        EarlyStopping('val/accuracy', patience=5, mode='max', min_delta=0.001)
    """

    effect = "changes"
    runs_in = ("fit",)
    settable = ("patience", "min_delta", "baseline")

    def __init__(
        self,
        monitor: str = "val/loss",
        patience: int = 3,
        *,
        mode: Literal["min", "max"] = "min",
        min_delta: float = 0.0,
        baseline: float | None = None,
        check_finite: bool = True,
        restore_best: bool = False,
    ) -> None:
        if not min_delta >= 0:
            raise ConfigurationError(
                f"min_delta={min_delta!r} can't be negative",
                expected="0 or more, in the metric's own unit",
                remedy=f"min_delta={abs(min_delta)}; which way is better is said by `mode`",
                option="min_delta",
            )
        self.monitor = monitor
        self.monitors = (monitor,)
        self.patience = whole_number(patience, "patience", at_least=1)
        self.mode = check_mode(mode)
        self.restore_best = restore_best
        self._limits = (self.mode, patience, min_delta, baseline, check_finite)
        self._watch = Patience(*self._limits)
        self._best_step = 0
        self._weights: dict[str, dict[str, Tensor]] = {}

    def on_attach(self, run: Run) -> None:
        self._start_anew()

    def on_log(self, run: Run, record: Record) -> None:
        value = record.values.get(self.monitor)
        if value is None:
            return
        verdict = self._watch.judge(value)
        if verdict.improved:
            self._best_step = record.step
            if self.restore_best:
                self._weights = copies(run.models)
        if not verdict.finite:
            run.stop(f"{self.monitor} is {value}")
        elif verdict.exhausted:
            run.stop(self._reason(value))

    def on_fit_end(self, run: Run) -> None:
        if self.restore_best and self._weights and not run.interrupted:
            for name, model in run.models.items():
                model.load_state_dict(self._weights[name])

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "patience": self._watch.state_dict(),
            "best_step": self._best_step,
            "weights": self._weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if not is_of_metric(state, "EarlyStopping", self.monitor, self.mode):
            self._start_anew()
            return
        self._watch.load_state_dict(state["patience"])
        self._best_step = state["best_step"]
        self._weights = dict(state["weights"])

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._watch.best

    def _start_anew(self) -> None:
        self._watch = Patience(*self._limits)
        self._best_step = 0
        self._weights = {}

    def _reason(self, value: float) -> str:
        watch = self._watch
        count = f"{watch.waited} evaluation{'s' if watch.waited > 1 else ''}"
        if watch.best is None:
            return f"{self.monitor} has not been a number in {count}"
        by = f" by more than {watch.min_delta:g}" if watch.min_delta else ""
        text = f"{self.monitor} has not improved{by} in {count}: now {value:.6g}"
        text += f", best {watch.best:.6g} at step {self._best_step}"
        if watch.baseline is not None and not has_improved(watch.best, watch.baseline, watch.mode):
            text += f", never better than the baseline {watch.baseline:g}"
        return text


def copies(models: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """Copies of all weights and buffers, on their device, by model and name."""
    return {
        name: {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
        for name, model in models.items()
    }
