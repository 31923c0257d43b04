"""Lineage: which saves of a run it has come through, where it was taken back to an earlier one.

A run that is resumed from an earlier checkpoint leaves the later ones behind: they hold steps that
it has not taken. Pure functions of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Return(NamedTuple):
    """A resume from another checkpoint than the newest."""

    to: int
    """Number of the save that the run went on from; 0: it lies in another folder."""
    after: int
    """Number of the last save before that."""


def left_behind(numbers: Iterable[int], returns: Sequence[Return]) -> set[int]:
    """The saves that the run, as it stands after all `returns`, has not come through.

    Args:
        numbers: Numbers of saves (`Manifest.sequence`).
        returns: The returns of the run, the oldest first.
    """
    gaps: list[Return] = []
    place: float = float("inf")
    for one in reversed(returns):
        if one.after < place:  # else it came after the save that the run was taken back to
            gaps.append(one)
            place = one.to
    return {n for n in numbers if any(gap.to < n <= gap.after for gap in gaps)}
