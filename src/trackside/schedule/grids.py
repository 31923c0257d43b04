"""The points at which one period of a schedule is due, on the axis of one counter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from trackside.errors import ScheduleError
from trackside.progress import Progress, RunLimit
from trackside.schedule.every import Every

COUNTERS: dict[str, str] = {
    "steps": "steps_completed",
    "batches": "batches_completed",
    "epochs": "epochs_completed",
    "samples": "samples_completed",
    "seconds": "seconds",
    "tokens": "tokens_completed",
    "percent": "steps_completed",
    "per_epoch": "steps_completed",
}
STEP_UNITS: frozenset[str] = frozenset(COUNTERS) - {"epochs"}
"""Units that are looked at after each step; `epochs` is looked at after each epoch."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Multiples of an amount, or that amount alone, on the axis of a counter."""

    counter: str
    amount: int | float | Fraction
    once: bool = False

    def passed(self, count: float) -> int:
        """How many points are not beyond `count`."""
        return int(count >= self.amount) if self.once else int(count // self.amount)

    def following(self, count: float) -> float:
        """The first point beyond `count`; infinity where there is none. Of steps, a whole one."""
        if self.once:
            point = self.amount if count < self.amount else math.inf
        else:
            point = (count // self.amount + 1) * self.amount
        return math.ceil(point) if isinstance(point, Fraction) else point

    def is_on(self, progress: Progress) -> bool:
        """Whether a point was come to with the last step, as far as the counter says."""
        count = getattr(progress, self.counter)
        if not count:
            return False
        if isinstance(self.amount, Fraction):
            return self.passed(count) > self.passed(count - 1)
        return bool(count == self.amount if self.once else count % self.amount == 0)


def grid(part: Every, limit: RunLimit | None) -> Grid:
    """The points of a period, or of one point, in a run.

    Args:
        part: The period.
        limit: How far the run goes; None where that isn't known.

    Raises:
        ScheduleError: It is a share of the run, or of an epoch, whose length isn't known.
    """
    once, unit, amount = part.at is not None, part.unit, part.amount
    if unit == "percent":
        total = None if limit is None else limit.total_steps
        if total is None:
            raise _unknown(part, "run", "give `fit` `steps=...`, or data that has a length")
        return Grid("steps_completed", _share(total, amount), once)
    if unit == "per_epoch":
        length = None if limit is None else limit.epoch_steps
        if length is None:
            raise _unknown(part, "epoch", "give data that has a length")
        return Grid("steps_completed", Fraction(max(length, 1), int(amount)), once)
    return Grid(COUNTERS[unit], amount, once)


def _share(total: int, percent: float) -> Fraction:
    # A run of no steps has no points: those of a run of one step are never come to.
    return Fraction(max(total, 1)) * Fraction(str(percent)) / 100


def _unknown(part: Every, what: str, remedy: str) -> ScheduleError:
    return ScheduleError(
        f"{str(part)!r} is a share of the {what}, whose length in steps isn't known",
        expected="a run whose length is known, or a count such as '100 steps'",
        received=str(part),
        remedy=f"{remedy}; or count steps, epochs, samples or seconds",
    )
