"""The page of a sweep: all its trials, and the runs of the best laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trackside.search.sweep import first_line, ranked, short

if TYPE_CHECKING:
    from trackside.callbacks.reporting.report_page.page import PageTable
    from trackside.search.store import Trial
    from trackside.search.sweep import Sweep

SHOWN = 10
"""Trials whose curves are laid over each other."""
NAME = "report.html"


def write(sweep: Sweep, found: Sequence[Trial]) -> Path | None:
    """The page in the folder of the sweep; None where no trial has a run to show.

    Where no trial is complete, the runs of others are shown.
    """
    from trackside.callbacks.reporting.report_page.page import render  # noqa: PLC0415 - at the end
    from trackside.callbacks.reporting.report_page.reading import read_run  # noqa: PLC0415
    from trackside.config.experiment.configurations import configuration  # noqa: PLC0415
    from trackside.run_folder.inside import replace_inside  # noqa: PLC0415

    best = ranked(found, sweep.mode)
    others = [one for one in found if one.state != "complete"]
    there = [one for one in best or others if sweep.place(one.number).is_dir()][:SHOWN]
    runs = []
    for trial in there:
        place = sweep.place(trial.number)
        value = trial.state if trial.value is None else f"{sweep.monitor} {trial.value:.4g}"
        name = f"trial {trial.number}: {value}"
        runs.append(read_run(place, name=name, configuration=configuration(place)))
    if not runs:
        return None
    title = f"The best {len(runs)} of {len(found)} trials" if best else f"{len(found)} trials"
    page = render(runs, title=title, tables=[table(sweep, found)])
    replace_inside(sweep.folder.resolve(), NAME, page)
    return sweep.folder / NAME


def table(sweep: Sweep, found: Sequence[Trial]) -> PageTable:
    """All trials: the best first, then the others by number."""
    from trackside.callbacks.reporting.report_page.page import PageTable  # noqa: PLC0415

    best = ranked(found, sweep.mode)
    keys = [one.key for one in sweep.space]
    rows = []
    for trial in [*best, *(one for one in found if one not in best)]:
        value = "–" if trial.value is None else f"{trial.value:.4g}"
        chosen = [short(trial.parameters[key]) if key in trial.parameters else "–" for key in keys]
        rows.append((str(trial.number), trial.state, value, *chosen, first_line(trial.why)))
    return PageTable("Trials", ("trial", "state", sweep.monitor, *keys, "why"), tuple(rows))
