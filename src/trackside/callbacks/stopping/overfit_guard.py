"""`OverfitGuard`."""

from __future__ import annotations

import math
from typing import Any, Literal, final

from trackside.errors import ConfigurationError
from trackside.history import Record, check_mode
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.saved import checked


@final
class OverfitGuard(Callback):
    """Stops when evaluation falls behind training by too much for too long.

    At each evaluation the gap is how much worse the evaluated metric is than the newest one of
    training.

    Args:
        max_gap: Largest gap that is accepted, in the metric's unit; with `relative`, as a share of
            the training's value.
        train: Name of the metric of training.
        evaluation: Name of the metric of the evaluation.
        patience: Evaluations in a row with a larger gap, or one that isn't a number, after which
            training stops.
        relative: Whether `max_gap` is a share.
        mode: Whether smaller (`min`) or larger (`max`) is better.

    Raises:
        ConfigurationError: `max_gap` is negative, `patience` isn't a positive whole number.

    Example:
        >>> OverfitGuard(0.5, relative=True, patience=2)
        OverfitGuard(0.5, patience=2, relative=True)
    """

    effect = "steers"
    runs_in = ("fit",)
    settable = ("max_gap", "patience")

    def __init__(
        self,
        max_gap: float,
        train: str = "train/loss",
        evaluation: str = "val/loss",
        *,
        patience: int = 3,
        relative: bool = False,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        if not max_gap >= 0:
            raise ConfigurationError(f"max_gap={max_gap!r} can't be negative", option="max_gap")
        self.max_gap = max_gap
        self.train = train
        self.evaluation = evaluation
        self.monitors = (train, evaluation)
        self.patience = whole_number(patience, "patience", at_least=1)
        self.relative = relative
        self.mode = check_mode(mode)
        self._waited = 0

    def on_attach(self, run: Run) -> None:
        self._waited = 0

    def on_log(self, run: Run, record: Record) -> None:
        evaluated = record.values.get(self.evaluation)
        trained = run.history.latest(self.train)
        if evaluated is None or trained is None:
            return
        gap = evaluated - trained if self.mode == "min" else trained - evaluated
        limit = self.max_gap * abs(trained) if self.relative else self.max_gap
        accepted = gap <= limit  # False of what isn't a number, too
        self._waited = 0 if accepted else self._waited + 1
        if self._waited >= self.patience:
            count = f"{self._waited} evaluation{'s' if self._waited > 1 else ''}"
            unknown = ", or isn't a number," if math.isnan(gap) else ""
            run.stop(
                f"{self.evaluation} {evaluated:.6g} is behind {self.train} {trained:.6g} by more "
                f"than {limit:.6g}{unknown} for {count}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._waited = checked(state, waited=int)["waited"]
