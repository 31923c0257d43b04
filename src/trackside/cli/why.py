"""`trackside why`: what ended a run, and what looks wrong in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli import layout
from trackside.cli.running import AsJson, reported_errors
from trackside.errors import printable

if TYPE_CHECKING:
    from trackside.callbacks.reporting.report_page.findings import Finding
    from trackside.callbacks.reporting.report_page.reading import ReportedRun

HEADINGS = {
    "ended": "why it ended",
    "wrong": "what looks wrong",
    "slow": "what was slow",
    "note": "worth knowing",
}


def why(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders of runs, or folders that hold some.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    r"""Say what ended a run, what looks wrong in it, what was slow, and what to do about it.

    Read from the run's folder alone: its outcome, records, sessions, warnings and checkpoints.

    \b
    Examples:
      trackside why runs/mine
      trackside why runs --json
    """
    with reported_errors(as_json, False):
        from trackside.callbacks.reporting.report_page.diagnosis import diagnose
        from trackside.callbacks.reporting.report_page.reading import read_run
        from trackside.config.experiment.configurations import configurations
        from trackside.machine.paths import local_path

        found = []
        for folder, content in configurations([local_path(one, "RUN") for one in folders]).items():
            run = read_run(folder, configuration=content)
            found.append((run, diagnose(run)))
    if as_json:
        rows = [
            {"run": str(run.folder), "status": run.status, "findings": [asdict(f) for f in all_]}
            for run, all_ in found
        ]
        print(json.dumps(rows))
        return
    text = "\n\n".join("\n".join(_page(run, findings)) for run, findings in found)
    print(layout.folded(text, layout.width(), hang=4))


def _page(run: ReportedRun, findings: list[Finding]) -> Iterator[str]:
    yield printable(f"{run.folder}: {run.status} at step {run.step:,}")
    if not findings:
        yield f"  {run.reason}; nothing looks wrong" if run.reason else "  nothing looks wrong"
    for severity, heading in HEADINGS.items():
        chosen = [finding for finding in findings if finding.severity == severity]
        if chosen:
            yield f"{heading}:"
        for finding in chosen:
            yield printable(f"  - {finding.message}")
            yield printable(f"    seen:   {finding.evidence}")
            if finding.remedy:
                yield printable(f"    to fix: {finding.remedy}")
