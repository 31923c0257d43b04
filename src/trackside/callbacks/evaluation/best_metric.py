"""`BestMetric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from trackside.errors import ConfigurationError
from trackside.history import Mode, Record, check_mode, has_improved
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.saved import checked


@final
class BestMetric(Callback):
    """Logs what other metrics were when one was at its best.

    Each time `source` improves, the newest values of `targets` are logged as `best/<target>`: the
    test accuracy at the best validation loss, say.

    Args:
        source: Name of the metric that decides, such as `val/loss`.
        targets: Names of the metrics to log. They count as of the same step; a target that is
            recorded later at that step (another data set) is taken when it comes.
        mode: Whether lower (`min`) or higher (`max`) values of `source` are better.
        min_delta: By how much it must be better, in the metric's own unit.

    Raises:
        ConfigurationError: No targets, or no direction of that name.

    Example:
        >>> BestMetric("val/loss", targets=["val/accuracy"])  # logs best/val/accuracy
    """

    effect = "observes"

    def __init__(
        self,
        source: str,
        targets: Sequence[str],
        mode: Mode = "min",
        min_delta: float = 0.0,
    ) -> None:
        if isinstance(targets, str) or not targets:
            raise ConfigurationError(
                "`BestMetric` needs targets",
                expected="a list of names",
                received=repr(targets),
                option="targets",
            )
        self.source = source
        self.targets = tuple(targets)
        self.mode = check_mode(mode)
        self.min_delta = min_delta
        self.monitors = (source, *self.targets)
        self.logs = tuple(f"best/{target}" for target in self.targets)
        self.best: float | None = None
        """Best value of `source` so far."""
        self._best_step: int | None = None

    def on_fit_start(self, run: Run) -> None:
        if run.resumed_from is None:
            self.best = self._best_step = None

    def on_log(self, run: Run, record: Record) -> None:
        value = record.values.get(self.source)
        improved = value is not None and has_improved(value, self.best, self.mode, self.min_delta)
        if improved:
            self.best, self._best_step = value, record.step
        if record.step != self._best_step:
            return
        for target in self.targets:
            if target in record.values:
                run.log(f"best/{target}", record.values[target], weight=1.0)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self._best_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        checked(state, best=float | None, best_step=int | None)
        self.best, self._best_step = state["best"], state["best_step"]
