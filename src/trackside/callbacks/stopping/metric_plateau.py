"""`MetricPlateau`."""

from __future__ import annotations

import math
from typing import Any, Literal, final

from trackside.callbacks.stopping.plateau import Plateau
from trackside.errors import ConfigurationError
from trackside.history import Record, check_mode
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.saved import checked, is_of_metric


@final
class MetricPlateau(Callback):
    """Stops when a metric has become flat: for noisy metrics, where single bests mean little.

    The mean of the last `window` values is compared with the mean of the `window` values before.
    Unlike `EarlyStopping`, one lucky value does not keep the run alive, and a slow but steady
    improvement shows.

    Args:
        monitor: Name of the metric, such as `val/loss`.
        window: Values in each of the two means.
        min_improvement: Smallest improvement of the mean that lets training go on, as a share of
            the earlier mean: 0.01 is one per cent.
        mode: Whether smaller (`min`) or larger (`max`) is better.

    Raises:
        ConfigurationError: `window` isn't a positive whole number, `min_improvement` is negative.

    Example:
        >>> MetricPlateau("val/loss", window=5, min_improvement=0.01)
        MetricPlateau()
    """

    effect = "steers"
    runs_in = ("fit",)
    settable = ("min_improvement",)

    def __init__(
        self,
        monitor: str = "val/loss",
        *,
        window: int = 5,
        min_improvement: float = 0.01,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        whole_number(window, "window", at_least=1)
        if not min_improvement >= 0:
            raise ConfigurationError(
                f"min_improvement={min_improvement!r} can't be negative",
                expected="a share of the earlier mean, such as 0.01",
                option="min_improvement",
            )
        self.monitor = monitor
        self.monitors = (monitor,)
        self.min_improvement = min_improvement
        self._plateau = Plateau(window, check_mode(mode))

    def on_attach(self, run: Run) -> None:
        self._plateau.restore(())

    def on_log(self, run: Run, record: Record) -> None:
        value = record.values.get(self.monitor)
        if value is None:
            return
        improved = self._plateau.add(value)
        if improved is not None and improved < self.min_improvement:
            run.stop(f"{self.monitor} is flat: {self._reason(improved)}")

    def _reason(self, improved: float) -> str:
        window = self._plateau.window
        if not math.isfinite(improved):
            return (
                f"the mean of the last {window}, or of the {window} before, isn't a finite number"
            )
        return (
            f"the mean of the last {window} values improved on the {window} before by "
            f"{improved:.2%}, less than {self.min_improvement:.2%}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "mode": self._plateau.mode,
            "values": list(self._plateau.values),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        same = is_of_metric(state, "MetricPlateau", self.monitor, self._plateau.mode)
        self._plateau.restore(checked(state, values=list[float])["values"] if same else ())
