"""Findings about a run, and the values of its records that rules look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trackside.callbacks.reporting.report_page.reading import ReportedRun

Severity = Literal["ended", "wrong", "slow", "note"]
"""It ended the run; its results are in doubt; it cost time; worth knowing."""
FEWEST = 6
"""Values of a metric below which nothing is said about its course."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    subject: str
    """The rule, in a word for programs: `diverged`, `data_wait`."""
    severity: Severity
    message: str
    """The finding, in one sentence without a full stop."""
    evidence: str
    """The values that show it."""
    remedy: str = ""


def finite(run: ReportedRun, name: str) -> list[tuple[int, float]]:
    """Step and value of each finite record of a value."""
    steps = run.history.axes()["step"]
    points = run.history.rows_of(name)
    return [(int(steps[row]), value) for row, value in points if math.isfinite(value)]


def remedy_for(reason: str, otherwise: str) -> str:
    """The way out of values that aren't finite: the data, where they came with it."""
    if "the data is bad already" in reason:
        return "find the samples of that batch, and mend or leave them out"
    return otherwise
