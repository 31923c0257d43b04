"""Patience: the limit of waiting for a metric to improve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from trackside.history import Mode, has_improved
from trackside.saved import checked


class Verdict(NamedTuple):
    """The verdict on one more value."""

    improved: bool
    """Better than every value before, by however little."""
    exhausted: bool
    """As many values as patience allows have come without enough improvement."""
    finite: bool = True
    """False ends the waiting at once."""


@dataclass(slots=True)
class Patience:
    """Counts the values since the last one that was enough of an improvement.

    Two bests are kept: `best` is the best value seen; `reference` the one that the next must beat
    by more than `min_delta`, so that many tiny improvements together do count in the end.
    """

    mode: Mode
    limit: int
    """Values without enough improvement that exhaust it."""
    min_delta: float = 0.0
    """Smallest improvement that counts, in the metric's own unit."""
    baseline: float | None = None
    """A value to be beaten before any improvement counts."""
    check_finite: bool = True
    best: float | None = None
    reference: float | None = None
    waited: int = 0
    """Values since the last one that counted."""

    def judge(self, value: float) -> Verdict:
        """Take in one more value."""
        if not math.isfinite(value) and self.check_finite:
            return Verdict(improved=False, exhausted=False, finite=False)
        improved = has_improved(value, self.best, self.mode)
        if improved:
            self.best = value
        counts = has_improved(value, self.reference, self.mode, self.min_delta)
        if counts:
            self.reference = value
        beats = self.baseline is None or has_improved(value, self.baseline, self.mode)
        self.waited = 0 if counts and beats else self.waited + 1
        return Verdict(improved, exhausted=self.waited >= self.limit)

    def state_dict(self) -> dict[str, Any]:
        """Bests and count."""
        return {"best": self.best, "reference": self.reference, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        checked(state, best=float | None, reference=float | None, waited=int)
        self.best, self.reference = state["best"], state["reference"]
        self.waited = state["waited"]
