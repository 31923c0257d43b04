"""A share of the time for evaluations: how much they have taken, and whether one more fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from trackside.errors import ConfigurationError
from trackside.saved import checked, refused


class TimeShare:
    """Time that evaluations have taken, and whether another one fits into their share.

    Args:
        percent: Most that they may take of the time of the run, in percent; above 0, below 100.

    Raises:
        ConfigurationError: `percent` is another value.

    Example:
        >>> share = TimeShare(10)
        >>> share.count(2.0, expected=True)
        >>> share.fits(run_seconds=30.0), share.fits(run_seconds=40.0)
        (False, True)
    """

    def __init__(self, percent: float) -> None:
        given: object = percent
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not is_number or not 0 < percent < 100:
            raise ConfigurationError(
                f"evaluations can't take {percent!r} percent of the time",
                expected="a number above 0 and below 100",
                option="time_percent",
            )
        self.percent = percent
        self.spent_seconds = 0.0
        """Time of all evaluations, over all resumes."""
        self.expected_seconds: float | None = None
        """Time of the last evaluation of the kind that is asked for; None: there was none yet."""

    def count(self, seconds: float, *, expected: bool) -> None:
        """Add an evaluation.

        Args:
            seconds: Time that it took.
            expected: Whether it is of the kind that is asked for: the next will take as long.
        """
        self.spent_seconds += seconds
        if expected:
            self.expected_seconds = seconds

    def timing(self, *, expected: bool) -> Callable[[], None]:
        """Begin to time an evaluation; what is returned ends that. See `count`."""
        began = perf_counter()
        return lambda: self.count(perf_counter() - began, expected=expected)

    def fits(self, run_seconds: float) -> bool:
        """Whether one more stays within the share, `run_seconds` after the run began.

        The first one does, since nobody knows how long it will take.
        """
        if self.expected_seconds is None:
            return True
        after = self.spent_seconds + self.expected_seconds
        return after <= (run_seconds + self.expected_seconds) * self.percent / 100

    def state_dict(self) -> dict[str, Any]:
        """The time taken so far."""
        return {"spent": self.spent_seconds, "expected": self.expected_seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; after a return to a checkpoint, what was dropped took its time."""
        checked(state, spent=float, expected=float | None)
        spent, expected = state["spent"], state["expected"]
        if not 0 <= spent < math.inf:
            raise refused("spent", "seconds, 0 or more", spent)
        self.spent_seconds = max(self.spent_seconds, spent)
        if self.expected_seconds is None:
            self.expected_seconds = expected
