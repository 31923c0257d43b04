"""Records as panels of curves: which values share a panel, and drawing them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from trackside.history import Record

Axis = Literal["step", "epoch", "samples", "tokens", "seconds"]

RECENT = "train_recent"
"""Topic of the training values since the record before: in gray, behind those of whole epochs."""
_COLUMNS = 3
_FEW = 40
"""Points that are marked one by one."""
_AXES = {
    "step": "step",
    "epoch": "epoch",
    "samples": "sample",
    "tokens": "token",
    "seconds": "time (s)",
}


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that are looked at together."""

    title: str
    """The measure: `loss`, `lr`."""
    curves: dict[str, tuple[list[float], list[float]]]
    """Positions and values by name: `train` and `val`, or `0` and `1`."""
    logarithmic: bool = False


def panels(
    records: Sequence[Record],
    values: Sequence[str],
    axis: Axis,
    sets: Collection[str],
    logarithmic: Sequence[str] = (),
) -> list[Panel]:
    """The same metric of several data sets shares a panel; so do other values of one topic.

    Args:
        records: In order.
        values: Full names or patterns (`*/loss`), panels come in this order.
        axis: What runs to the right.
        sets: Names of the data sets.
        logarithmic: Names or patterns of values whose axis is logarithmic.

    Returns:
        Panels with at least one finite value.
    """
    names = list(dict.fromkeys(name for record in records for name in record.values))
    chosen = [n for p in values for n in names if fnmatchcase(n, p)]
    found: dict[str, Panel] = {}
    for name in dict.fromkeys(chosen):
        held = [(getattr(r, axis), r.values[name]) for r in records if name in r.values]
        points = [(position, value) for position, value in held if position is not None]
        if not any(math.isfinite(value) for _, value in points):
            continue
        topic, _, metric = name.partition("/")
        title, curve = (metric, topic) if topic in (*sets, RECENT) else (topic, metric or topic)
        log = any(fnmatchcase(name, pattern) for pattern in logarithmic)
        panel = found.setdefault(title, Panel(title, {}, log))
        panel.curves[curve] = ([float(x) for x, _ in points], [y for _, y in points])
    return list(found.values())


def panel_rows(count: int) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    columns = min(count, _COLUMNS) if count != 4 else 2
    return -(-count // columns), columns


def history_size(count: int) -> tuple[float, float]:
    """Width and height of the figure for so many panels, inches."""
    rows, columns = panel_rows(count)
    return max(4.2 * columns, 5.0), 3.0 * rows + 0.5


def draw_history(figure: Any, shown: Sequence[Panel], axis: Axis, title: str) -> None:
    """Fill a figure of `history_size` with the panels."""
    rows, columns = panel_rows(len(shown))
    places = figure.subplots(rows, columns, squeeze=False)
    for axes in places.flat[len(shown) :]:
        axes.set_axis_off()
    for axes, panel in zip(places.flat, shown, strict=False):
        for name, (xs, ys) in panel.curves.items():
            few = len(xs) <= _FEW and name != RECENT
            style = {"color": "0.75", "zorder": 1} if name == RECENT else {}
            axes.plot(xs, ys, label=name, marker="." if few else "", linewidth=1.5, **style)
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel(_AXES[axis])
        positive = [y for _, ys in panel.curves.values() for y in ys if 0 < y < math.inf]
        if panel.logarithmic and positive:
            axes.set_yscale("log")
            # Plain numbers instead of powers of ten: losses seldom span many of them.
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}" if max(positive) < 10 * min(positive) else "")
        if axis != "seconds":
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.02)
        axes.grid(alpha=0.3)
        if len(panel.curves) > 1 or not next(iter(panel.curves)).isdigit():  # `lr/0` says nothing
            axes.legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
