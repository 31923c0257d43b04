"""How far a value stands out of the values before it, by statistics that outliers don't move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

TO_DEVIATIONS = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
SMALLEST_SPREAD = 1e-3
"""Spread that values have at least, as a share of their median: equal ones have none."""


def deviations_above(value: float, before: Sequence[float]) -> float:
    """By how many robust standard deviations `value` is above the median of the values before it.

    The spread is the median absolute deviation (MAD), scaled as for a normal distribution
    (Hampel, 1974, doi:10.1080/01621459.1974.10482962).

    Args:
        value: The new value.
        before: Finite values, one or more.

    Returns:
        Negative below the median; infinity where `value` isn't finite.
    """
    if not math.isfinite(value):
        return math.inf
    middle = median(before)
    spread = TO_DEVIATIONS * median(abs(one - middle) for one in before)
    return (value - middle) / max(spread, SMALLEST_SPREAD * abs(middle), 1e-12)
