"""Curves as lines of a picture that needs no script, and as a sentence for who doesn't see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trackside.callbacks.reporting.figures import figure
from trackside.callbacks.reporting.report_page.curves import Curve, Panel
from trackside.callbacks.reporting.report_page.thinning import thinned
from trackside.history import History, best_key

WIDTH, HEIGHT, MARGIN = 400, 230, 8
_POINTS_AT_MOST = 240
COLORS = 6
"""Colours of curves in the style sheet."""


@dataclass(frozen=True, slots=True)
class Line:
    """One stretch of a curve without a gap."""

    color: str
    """Name in the style sheet."""
    points: str


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a panel's legend."""

    color: str
    says: str


def lines(panel: Panel, histories: Sequence[History]) -> list[Line]:
    """Polylines over the steps, within `WIDTH` and `HEIGHT`."""
    steps = [[histories[c.run].axes()["step"][row] for row in c.rows] for c in panel.curves]
    values = [value for c in panel.curves for value in c.values if math.isfinite(value)]
    left, right = min(map(min, steps)), max(map(max, steps))
    low, high = min(values), max(values)

    def x(step: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (step - left) / ((right - left) or 1)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / ((high - low) or 1)

    found = []
    for place, curve in enumerate(panel.curves):
        pairs = list(zip(range(len(curve.rows)), curve.values, strict=True))
        stretch: list[str] = []
        for index, value in [*thinned(pairs, _POINTS_AT_MOST), (-1, math.nan)]:
            if math.isfinite(value):
                stretch.append(f"{x(steps[place][index]):.1f},{y(value):.1f}")
            elif stretch:
                found.append(Line(color(panel, curve, len(histories)), " ".join(stretch)))
                stretch = []
    return found


def keys(panel: Panel, names: Sequence[str]) -> list[Key]:
    """The legend: which colour is which curve."""
    if len(names) > 1:
        runs = dict.fromkeys(curve.run for curve in panel.curves)
        return [Key(str(run % COLORS), names[run]) for run in runs]
    return [Key(color(panel, curve, 1), curve.name) for curve in panel.curves]


def color(panel: Panel, curve: Curve, runs: int) -> str:
    """A curve's colour: by run where there are several, else by name."""
    if runs > 1:
        return str(curve.run % COLORS)
    if curve.name.startswith("train_recent/"):
        return "recent"
    return str(list(dict.fromkeys(one.name for one in panel.curves)).index(curve.name) % COLORS)


def sentence(panel: Panel, histories: Sequence[History], names: Sequence[str]) -> str:
    """`val/loss: from 1.2 at step 20 to 0.1 at step 240, lowest 0.09`."""
    said = []
    for curve in panel.curves:
        finite = [(r, v) for r, v in zip(curve.rows, curve.values, strict=True) if math.isfinite(v)]
        steps = histories[curve.run].axes()["step"]
        (first, begun), (last, ended) = finite[0], finite[-1]
        by = f" of {names[curve.run]}" if len(names) > 1 else ""
        text = f"{curve.name}{by}: from {figure(begun)} at step {steps[first]:,}"
        text += f" to {figure(ended)} at step {steps[last]:,}"
        if panel.mode is not None:
            mode = panel.mode
            best = min((value for _, value in finite), key=lambda value: best_key(value, mode))
            text += f", {'lowest' if mode == 'min' else 'highest'} {figure(best)}"
        said.append(text)
    return "; ".join(said)
