"""Whether a series of values has become flat."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import fmean

from trackside.history import Mode


class Plateau:
    """Compares the mean of the newest values with the mean of as many before them.

    Args:
        window: Values in each mean.
        mode: Which way is better.
    """

    def __init__(self, window: int, mode: Mode) -> None:
        self.window = window
        self.mode = mode
        self.values: deque[float] = deque(maxlen=2 * window)

    def add(self, value: float) -> float | None:
        """Take in a value.

        Returns:
            By what share of its size the mean has improved; None until there are values enough.
            NaN values count as no improvement at all.
        """
        self.values.append(value)
        if len(self.values) < 2 * self.window:
            return None
        values = list(self.values)
        before, after = fmean(values[: self.window]), fmean(values[self.window :])
        change = before - after if self.mode == "min" else after - before
        if not math.isfinite(change):
            return -math.inf
        return change / abs(before) if before else math.copysign(math.inf, change) if change else 0

    def restore(self, values: Iterable[float]) -> None:
        """Restore `values`."""
        self.values.clear()
        self.values.extend(values)
