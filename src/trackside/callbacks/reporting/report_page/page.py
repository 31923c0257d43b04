"""The page itself: values for its template, and the policy that lets no other script run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page import static_curves
from trackside.callbacks.reporting.report_page.curves import Panel, as_plain, panels
from trackside.callbacks.reporting.report_page.described import at, best_names, describe
from trackside.callbacks.reporting.report_page.reading import ReportedRun

ASSETS = Path(__file__).parent / "assets"
_STATIC_PANELS = 80
"""Panels that are drawn for readers without scripts; the others have their sentence."""


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table that stands before the runs, such as that of all trials of a search."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Texts, as many as there are columns; the last of a row may be long."""


def render(
    runs: Sequence[ReportedRun],
    *,
    title: str | None = None,
    live: bool = False,
    tables: Sequence[PageTable] = (),
) -> str:
    """The page as one text.

    Args:
        runs: At least one.
        title: None takes the name of the run, or how many there are.
        live: Whether it is served while the run goes on, and asks for new values.
        tables: What stands before the runs.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - start-up
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2

    shown = panels([run.thinned() for run in runs])
    script = _asset("uplot/uPlot.iife.min.js") + "\n" + _asset("page.js")
    style = _asset("uplot/uPlot.min.css") + "\n" + _asset("page.css")
    several = len(runs) > 1
    described = [describe(run) for run in runs]
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = [run.name for run in runs]
    return environment.get_template("page.html").render(
        title=title or (f"{len(runs)} runs" if several else runs[0].name),
        policy=_policy(script, style, live),
        style=Markup(style),
        script=Markup(script),
        data=Markup(_embedded(values(runs, shown))),
        made=f"made {at(datetime.now(UTC).isoformat(timespec='seconds'))} by Trackside",
        stamp=stamp(runs) if live else "",
        single=None if several else described[0],
        runs=described,
        best_names=best_names(runs) if several else [],
        axes=_axes(runs),
        panels=list(_described_panels(shown, runs, names)),
        different=differences(runs) if several else None,
        tables=tables,
        sections=[
            *((f"table-{place}", table.name) for place, table in enumerate(tables)),
            *_sections(runs, described),
        ],
    )


def values(runs: Sequence[ReportedRun], shown: Sequence[Panel] | None = None) -> dict[str, Any]:
    """Curves and names of runs as plain values, for the page's script."""
    histories = [run.history for run in runs]
    drawn = panels([run.thinned() for run in runs]) if shown is None else shown
    return {"runs": [{"name": run.name} for run in runs], **as_plain(drawn, histories)}


def stamp(runs: Sequence[ReportedRun]) -> str:
    """Changes when a run has more to show."""
    return "-".join(f"{len(run.history)}.{run.status}" for run in runs)


# --- the policy of the page -----------------------------------------------------------------------


def _policy(script: str, style: str, live: bool) -> str:
    parts = [
        "default-src 'none'",
        "img-src data:",
        f"script-src '{_digest(script)}'",
        f"style-src '{_digest(style)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*parts, "connect-src 'self'"] if live else parts)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(content: Any) -> str:
    """JSON that can't end the element it stands in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


_AXIS_WORDS = {"step": "steps", "epoch": "epochs", "seconds": "time"}


def _axes(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """The axes that all runs have, and their words."""
    of_runs = [run.history.axes() for run in runs]
    shared = (axis for axis in of_runs[0] if all(axis in one for one in of_runs))
    return [(axis, _AXIS_WORDS.get(axis, axis)) for axis in shared]


# --- several runs, panels, sections --------------------------------------------------------------


def differences(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Options in which the configurations differ, with the value of each run."""
    names = dict.fromkeys(name for run in runs for name in run.configuration)
    found = []
    for name in names:
        row = [run.configuration.get(name, "–") for run in runs]
        if len(set(row)) > 1:
            found.append((name, row))
    return sorted(found)


def _described_panels(
    shown: Sequence[Panel], runs: Sequence[ReportedRun], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    histories = [run.history for run in runs]
    for place, panel in enumerate(shown):
        yield {
            "title": panel.title,
            "names": " ".join(dict.fromkeys(curve.name for curve in panel.curves)),
            "says": static_curves.sentence(panel, histories, names),
            "lines": static_curves.lines(panel, histories) if place < _STATIC_PANELS else [],
            "legend": static_curves.keys(panel, names),
        }


def _sections(
    runs: Sequence[ReportedRun], described: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    yield "summary", "Summary" if len(runs) == 1 else "Runs"
    if len(runs) > 1:
        yield "curves", "Curves"
        yield "configuration", "Differences"
        for place, run in enumerate(runs):
            yield f"run-{place}", run.name
        return
    one = described[0]
    known = (
        ("best", "Best and last", one["best"]),
        ("curves", "Curves", True),
        ("findings", "Findings", one["findings"]),
        (
            "events",
            "What happened",
            one["sessions"] or one["decisions"] or one["warnings"] or one["problems"],
        ),
        ("once", "Recorded once", one["once"]),
        ("time", "Time", one["spent"] or one["shares"]),
        ("checkpoints", "Checkpoints", one["checkpoints"] or one["gone"]),
        ("texts", "Texts", one["texts"]),
        ("pictures", "Pictures", one["pictures"]),
        ("configuration", "Configuration", one["configuration"]),
        ("environment", "Environment", one["environment"]),
    )
    for anchor, words, present in known:
        if present:
            yield anchor, words
