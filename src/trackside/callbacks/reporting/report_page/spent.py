"""The time of a run by phase, over all its sessions: what was training, and what went by."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from trackside.callbacks.reporting.figures import duration, share
from trackside.callbacks.reporting.phases import PHASES
from trackside.callbacks.reporting.report_page.plain_values import time_of
from trackside.callbacks.reporting.report_page.reading import ReportedRun

BETWEEN = "between sessions"


def spent(run: ReportedRun) -> list[dict[str, Any]]:
    """Rows of the table: each phase with its seconds, and its share of the whole.

    A session that was killed counts with what it wrote down last.
    """
    seconds = {
        name: sum(max(0.0, one.phases.get(name, 0.0)) for one in run.sessions) for name in PHASES
    }
    seconds[BETWEEN] = sum(_gaps(run))
    whole = sum(seconds.values())
    return [
        {
            "name": name,
            "seconds": duration(part),
            "share": share(part / whole),
            "width": f"{100 * part / whole:.2f}",
        }
        for name, part in seconds.items()
        if part > 0
    ]


def _gaps(run: ReportedRun) -> Iterator[float]:
    for before, after in pairwise(run.sessions):
        ended, begun = time_of(before.ended or before.last_heard), time_of(after.begun)
        if ended is not None and begun is not None:
            yield max(0.0, (begun - ended).total_seconds())
