"""The largest size that fits: by doubling, then by halving what is left in doubt."""

from __future__ import annotations

from collections.abc import Callable


def largest_that_fits(
    fits: Callable[[int], bool], *, smallest: int = 1, largest: int | None = None, unit: int = 1
) -> int | None:
    """The largest multiple of `unit` that fits, where all smaller ones do; None: not the smallest.

    Args:
        fits: Whether a size fits. Each is asked once, none above `largest`, none more than twice as
            large as the largest that did.
        smallest: The first to try, 1 or more; rounded up to a multiple of `unit`.
        largest: The last one that is allowed; None: there is one that doesn't fit.
        unit: What sizes are multiples of.

    Example:
        >>> asked = []
        >>> largest_that_fits(lambda size: asked.append(size) or size <= 21)
        21
        >>> asked
        [1, 2, 4, 8, 16, 32, 24, 20, 22, 21]
    """
    first = -(-smallest // unit)
    end = None if largest is None else largest // unit
    if (end is not None and first > end) or not fits(first * unit):
        return None
    good, bad = first, None if end is None else end + 1
    failed = False
    while bad is None or good + 1 < bad:
        doubled = good * 2 if not failed else None
        if doubled is not None and (bad is None or doubled < bad):
            trial = doubled
        else:
            assert bad is not None, "doubling ends with a size that doesn't fit"
            trial = (good + bad) // 2 if failed else bad - 1
        if fits(trial * unit):
            good = trial
        else:
            bad, failed = trial, True
    return good * unit
