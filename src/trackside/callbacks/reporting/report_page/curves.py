"""Curves of a report: panels of values that belong together, thinned to what a page can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trackside.history import History
from trackside.outcome import Status
from trackside.vocabulary.directions import Mode, direction

POINTS_AT_MOST = 4000
"""Points of one curve that the page holds."""
_SETS = ("train", "train_recent", "val", "validation", "valid", "test", "eval")
"""Topics whose values of one measure are looked at together."""
AXES = ("step", "epoch", "samples", "seconds")


@dataclass(frozen=True, slots=True)
class Curve:
    """The values of one name in one run."""

    run: int
    """Place of the run in the report."""
    name: str
    """Full name."""
    rows: tuple[int, ...]
    """Rows of the run's history that are kept, in order."""
    values: tuple[float, ...]
    in_all: int
    """Number of values before thinning."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that are looked at together."""

    title: str
    is_metric: bool
    """Whether it is of losses and metrics: the page shows them first."""
    mode: Mode | None
    curves: list[Curve] = field(default_factory=list)


def panels(histories: Sequence[History], limit: int = POINTS_AT_MOST) -> list[Panel]:
    """Panels of several runs: losses and metrics first, then other values as they came.

    The same measure of several data sets shares a panel, and so does each value of several runs.
    Values that were recorded once, or have no finite one, are left out: see `recorded_once`.
    """
    found: dict[tuple[bool, str], Panel] = {}
    for run, history in enumerate(histories):
        for name in history.names:
            points = history.rows_of(name)
            if len(points) < 2 or not any(math.isfinite(value) for _, value in points):
                continue
            is_metric, title = _place(name)
            panel = found.setdefault((is_metric, title), Panel(title, is_metric, direction(name)))
            kept = thinned(points, limit)
            rows, values = tuple(row for row, _ in kept), tuple(value for _, value in kept)
            panel.curves.append(Curve(run, name, rows, values, len(points)))
    return sorted(found.values(), key=lambda panel: not panel.is_metric)


def recorded_once(history: History) -> dict[str, float]:
    """Values of which there is one record only: their value can be listed, and makes no curve."""
    found = {name: history.rows_of(name) for name in history.names}
    return {name: points[0][1] for name, points in found.items() if len(points) == 1}


def _place(name: str) -> tuple[bool, str]:
    """Whether a value is a loss or a metric, and the title of its panel."""
    topic, _, measure = name.partition("/")
    is_metric = bool(measure) and (topic in _SETS or direction(name) is not None)
    return is_metric, measure if is_metric else name


def thinned(points: Sequence[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """At most about `limit` of the points; of each stretch the lowest, the highest, a gap, the end.

    Each point that is kept was recorded so: no value is averaged, and no outlier is lost.
    """
    if len(points) <= limit:
        return list(points)
    buckets = max(1, limit // 4)
    kept: list[tuple[int, float]] = [points[0]]
    for bucket in range(buckets):
        start = 1 + bucket * (len(points) - 2) // buckets
        stop = 1 + (bucket + 1) * (len(points) - 2) // buckets
        stretch = points[start:stop]
        if stretch:
            kept += _extremes(stretch)
    kept.append(points[-1])
    return kept


def _extremes(stretch: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    finite = [point for point in stretch if math.isfinite(point[1])]
    chosen = {stretch[0][0]: stretch[0]}
    if finite:
        for point in (min(finite, key=_value), max(finite, key=_value)):
            chosen[point[0]] = point
    if len(finite) < len(stretch):
        gap = next(point for point in stretch if not math.isfinite(point[1]))
        chosen[gap[0]] = gap
    return [chosen[row] for row in sorted(chosen)]


def _value(point: tuple[int, float]) -> float:
    return point[1]


# --- as plain values for the page ----------------------------------------------------------------


def as_plain(shown: Sequence[Panel], histories: Sequence[History]) -> dict[str, Any]:
    """Panels, and the axes that their curves share, as the page's script reads them."""
    axes: list[dict[str, list[float]]] = []
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    plain = []
    for panel in shown:
        curves = []
        for curve in panel.curves:
            key = (curve.run, curve.rows)
            if key not in known:
                known[key] = len(axes)
                axes.append(_axes(histories[curve.run], curve.rows))
            curves.append(
                {
                    "run": curve.run,
                    "name": curve.name,
                    "axes": known[key],
                    "values": [_short(value) for value in curve.values],
                    "in_all": curve.in_all,
                }
            )
        plain.append({"title": panel.title, "curves": curves})
    return {"panels": plain, "axes": axes}


def _axes(history: History, rows: Sequence[int]) -> dict[str, list[float]]:
    columns = history.axes()
    return {axis: [_plain_number(columns[axis][row]) for row in rows] for axis in AXES}


def _plain_number(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def _short(value: float) -> float | None:
    """Seven digits, as float32 has them; None, a gap, where it isn't finite."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def status_word(status: str) -> str:
    """How a page marks a status: `good`, `bad` or `open`."""
    if status in (Status.COMPLETED, Status.STOPPED):
        return "good"
    return "bad" if status in (Status.FAILED, Status.DIVERGED) else "open"
