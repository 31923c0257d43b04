"""Curves thinned to what a page can show, as their points come: extremes stay, none is averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from trackside.history import History

POINTS_AT_MOST = 4000
"""Points of one curve that a page holds."""
_KEPT_OF_A_STRETCH = 4

Point = tuple[int, float]
"""A row of the history, and its value."""


@final
class Thinning:
    """Points of one curve, kept as stretches that get longer as more points come.

    Of each stretch stay the first, the lowest, the highest, and one that isn't finite. When there
    are too many stretches, each two become one: a point costs the same, however many there are.

    Args:
        limit: Points at most; beside them the very last one.
    """

    __slots__ = ("_finest", "_limit", "_stretches", "_stretches_at_most", "_width", "count", "last")

    def __init__(self, limit: int = POINTS_AT_MOST) -> None:
        self._limit = limit
        self._stretches_at_most = max(2, limit // _KEPT_OF_A_STRETCH // 2 * 2)
        self._finest: list[Point] | None = []
        """All points, while there are no more than the limit."""
        self._stretches: list[list[Point]] = []
        self._width = _KEPT_OF_A_STRETCH
        """Points of a stretch."""
        self.count = 0
        """Points so far."""
        self.last: Point | None = None

    def extend(self, points: Sequence[Point]) -> None:
        """Add points, in the order of their rows."""
        if not points:
            return
        self.last = points[-1]
        if self._finest is not None:
            self._finest += points
            self.count = len(self._finest)
            if self.count <= self._limit:
                return
            points, self._finest, self.count = self._finest, None, 0
            while self._width * self._stretches_at_most < len(points):
                self._width *= 2
        start = 0
        while start < len(points):
            filled = self.count % self._width
            if filled == 0:
                if len(self._stretches) >= self._stretches_at_most:
                    self._halve()
                    continue
                self._stretches.append([])
            stop = start + self._width - filled
            stretch = [*self._stretches[-1], *points[start:stop]]
            self._stretches[-1] = _extremes(stretch)
            self.count += min(stop, len(points)) - start
            start = stop

    def points(self) -> list[Point]:
        """The points that are kept, in order."""
        if self._finest is not None:
            return list(self._finest)
        kept = [point for stretch in self._stretches for point in stretch]
        if self.last is not None and kept[-1][0] != self.last[0]:
            kept.append(self.last)
        return kept

    def _halve(self) -> None:
        pairs = zip(self._stretches[::2], self._stretches[1::2], strict=True)
        self._stretches = [_extremes([*one, *other]) for one, other in pairs]
        self._width *= 2


def thinned(points: Sequence[Point], limit: int = POINTS_AT_MOST) -> list[Point]:
    """At most about `limit` of the points; of each stretch the first, the extremes and a gap.

    Each point that is kept was recorded so: no value is averaged, and no outlier is lost.
    """
    thinning = Thinning(limit)
    thinning.extend(points)
    return thinning.points()


@final
class ThinnedHistory:
    """The curves of one history, thinned once; later looks add only the records that came since.

    Args:
        history: The records.
        limit: Points of each curve.
    """

    def __init__(self, history: History, limit: int = POINTS_AT_MOST) -> None:
        self.history = history
        self._limit = limit
        self._curves: dict[str, Thinning] = {}
        self._seen = 0

    def curves(self) -> dict[str, Thinning]:
        """All values of the history by name, up to date."""
        history, count = self.history, len(self.history)
        if self._seen == 0:
            for name in history.names:
                self._of(name).extend(history.rows_of(name))
        else:
            for row, record in enumerate(history.since(self._seen), self._seen):
                for name, value in record.values.items():
                    self._of(name).extend([(row, value)])
        self._seen = count
        return self._curves

    def _of(self, name: str) -> Thinning:
        if name not in self._curves:
            self._curves[name] = Thinning(self._limit)
        return self._curves[name]


def _extremes(stretch: Sequence[Point]) -> list[Point]:
    finite = [point for point in stretch if math.isfinite(point[1])]
    chosen = {stretch[0][0]: stretch[0]}
    if finite:
        for point in (min(finite, key=_value), max(finite, key=_value)):
            chosen[point[0]] = point
    if len(finite) < len(stretch):
        gap = next(point for point in stretch if not math.isfinite(point[1]))
        chosen[gap[0]] = gap
    return [chosen[row] for row in sorted(chosen)]


def _value(point: Point) -> float:
    return point[1]
