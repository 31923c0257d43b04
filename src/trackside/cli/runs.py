"""`trackside runs`: which runs there are, and how they ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli import layout
from trackside.cli.running import AsJson, reported_errors

if TYPE_CHECKING:
    from trackside.config.experiment.kept import KeptRun


def runs(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder, or address.")] = "runs",
    as_json: AsJson = False,
) -> None:
    r"""List runs with outcome, best values and duration, oldest first.

    `unfinished` is a run that goes on, or was killed: `trackside resume` goes on with it. `unknown`
    is one whose outcome can't be read; why stands beside it.

    \b
    Examples:
      trackside runs
      trackside runs experiments --json
      trackside runs s3://bucket
    """
    with reported_errors(as_json, False):
        from trackside.config.experiment.remotely import runs_at

        found = runs_at(folder)
    if as_json:
        print(json.dumps([one.as_dict() for one in found]))
    else:
        print(layout.folded(_table(found, folder), layout.width(), hang=4))


def _table(found: list[KeptRun], folder: str) -> str:
    if not found:
        return f"no runs in {folder}"
    rows: list[tuple[str, ...]] = [("run", "status", "step", "took", "best")]
    for one in found:
        best = ", ".join(f"{name} {value:.4g}" for name, value in one.best.items())
        step = "" if one.step is None else f"{one.step:,}"
        told_of = "; ".join(filter(None, [best, one.problem]))
        cells = (str(one.folder), one.status, step, _duration(one.seconds), told_of)
        rows.append(tuple(map(layout.one_line, cells)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]
        ).rstrip()
        for row in rows
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
