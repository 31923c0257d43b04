"""Curves of a report: panels of values that belong together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trackside.callbacks.reporting.report_page.thinning import ThinnedHistory
from trackside.history import History
from trackside.outcome import Status
from trackside.vocabulary.directions import Mode, direction

_SETS = ("train", "train_recent", "val", "validation", "valid", "test", "eval")
"""Topics whose values of one measure are looked at together."""


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


def panels(histories: Sequence[ThinnedHistory]) -> list[Panel]:
    """Panels of several runs: losses and metrics first, then other values as they came.

    The same measure of several data sets shares a panel, and so does each value of several runs.
    Values that were recorded once, or have no finite one, are left out: see `recorded_once`.
    """
    found: dict[tuple[bool, str], Panel] = {}
    for run, history in enumerate(histories):
        for name, thinning in history.curves().items():
            kept = thinning.points()
            if thinning.count < 2 or not any(math.isfinite(value) for _, value in kept):
                continue
            is_metric, title = _place(name)
            panel = found.setdefault((is_metric, title), Panel(title, is_metric, direction(name)))
            rows, values = tuple(row for row, _ in kept), tuple(value for _, value in kept)
            panel.curves.append(Curve(run, name, rows, values, thinning.count))
    return sorted(found.values(), key=lambda panel: not panel.is_metric)


def recorded_once(history: ThinnedHistory) -> dict[str, float]:
    """Values of which there is one record only: their value can be listed, and makes no curve."""
    found = history.curves().items()
    return {name: one.points()[0][1] for name, one in found if one.count == 1}


def _place(name: str) -> tuple[bool, str]:
    """Whether a value is a loss or a metric, and the title of its panel."""
    topic, _, measure = name.partition("/")
    is_metric = bool(measure) and (topic in _SETS or direction(name) is not None)
    return is_metric, measure if is_metric else name


# --- as plain values for the page ----------------------------------------------------------------


def as_plain(shown: Sequence[Panel], histories: Sequence[History]) -> dict[str, Any]:
    """Panels, and the axes that their curves share, as the page's script reads them."""
    axes: list[dict[str, list[float | None]]] = []
    columns = [history.axes() for history in histories]
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    plain = []
    for panel in shown:
        curves = []
        for curve in panel.curves:
            key = (curve.run, curve.rows)
            if key not in known:
                known[key] = len(axes)
                axes.append(_axes(columns[curve.run], curve.rows))
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


def _axes(
    columns: Mapping[str, Sequence[float]], rows: Sequence[int]
) -> dict[str, list[float | None]]:
    return {axis: [_plain_number(column[row]) for row in rows] for axis, column in columns.items()}


def _plain_number(value: float) -> float | None:
    """None where a record has no place on the axis: tokens that weren't counted yet."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else round(value, 3)


def _short(value: float) -> float | None:
    """Seven digits, as float32 has them; None, a gap, where it isn't finite."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def status_word(status: str) -> str:
    """How a page marks a status: `good`, `bad` or `open`."""
    if status in (Status.COMPLETED, Status.STOPPED):
        return "good"
    return "bad" if status in (Status.FAILED, Status.DIVERGED) else "open"
