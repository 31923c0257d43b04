"""`BestMetric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from trackside.errors import ConfigurationError
from trackside.history import Mode, Record, check_mode, has_improved
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.saved import checked, is_of_metric


@final
class BestMetric(Callback):
    """Logs what other metrics were when one was at its best.

    Each time `source` improves, the newest values of `targets` are logged as `best/<target>`: the
    test accuracy at the best validation loss, say.

    Args:
        source: Name of the metric that decides, such as `val/loss`.
        targets: Names of the metrics to log. They count as of the same step, be they recorded
            before `source` or after it (another data set).
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
        self._step: int | None = None
        """The step of the newest record."""
        self._newest: dict[str, float] = {}
        """Targets that are recorded at that step."""

    def on_fit_start(self, run: Run) -> None:
        if run.resumed_from is None:
            self.best = self._best_step = self._step = None
            self._newest = {}

    def on_log(self, run: Run, record: Record) -> None:
        if record.step != self._step:
            self._step, self._newest = record.step, {}
        new = {name: record.values[name] for name in self.targets if name in record.values}
        self._newest |= new
        value = record.values.get(self.source)
        improved = value is not None and has_improved(value, self.best, self.mode, self.min_delta)
        if improved:
            self.best, self._best_step = value, record.step
        if record.step != self._best_step:
            return
        for target, its_value in (self._newest if improved else new).items():
            run.log(f"best/{target}", its_value, weight=1.0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.source,
            "mode": self.mode,
            "best": self.best,
            "best_step": self._best_step,
            "step": self._step,
            "newest": dict(self._newest),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if is_of_metric(state, "BestMetric", self.source, self.mode):
            checked(state, best=float | None, best_step=int | None)
            self.best, self._best_step = state["best"], state["best_step"]
        else:
            self.best = self._best_step = None
        older: dict[str, Any] = {"step": None, "newest": {}}  # checkpoints that don't have them
        known = checked(older | state, step=int | None, newest=dict[str, float])
        self._step = known["step"]
        self._newest = {n: value for n, value in known["newest"].items() if n in self.targets}
