"""`trackside gc`: what lies in runs' folders that nothing needs any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import AsJson, reported_errors
from trackside.errors import printable

if TYPE_CHECKING:
    from trackside.config.experiment.leftovers import Leftovers


def gc(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Folders of runs, or folders that hold some.", show_default=False
        ),
    ],
    former: Annotated[
        bool,
        typer.Option(
            "--former", help="Checkpoints of other runs there, and those left behind, as well."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; else they are shown.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Show, or remove, what lies in the folders of runs and is in no ledger.

    Always: what writers left behind when they were killed. With --former also checkpoints of
    other runs in the same folder, and those that a run left behind when it was resumed from an
    earlier one. What a resume needs stays, and so does all of a run that goes on; links are not
    followed.

    \b
    Examples:
      trackside gc runs
      trackside gc runs --yes
      trackside gc runs/mine --former --json
    """
    with reported_errors(as_json, False):
        from trackside.config.experiment.configurations import configurations
        from trackside.config.experiment.leftovers import leftovers, remove_leftovers
        from trackside.machine.paths import local_path

        look = remove_leftovers if yes else leftovers
        runs = configurations([local_path(folder, "RUN") for folder in folders])
        found = [look(folder, former=former) for folder in runs]
    if as_json:
        print(json.dumps([_plain(one) for one in found]))
    else:
        print(printable(_page(found, yes)))


def _plain(one: Leftovers) -> dict[str, object]:
    gone = set(one.removed)
    return {
        "run": str(one.folder),
        "leftovers": [
            {
                "path": str(left.path),
                "bytes": left.size_bytes,
                "why": left.why,
                "removed": left in gone,
            }
            for left in one.found
        ],
        "notes": one.notes,
    }


def _page(found: list[Leftovers], removing: bool) -> str:
    from trackside.callbacks.reporting.figures import size

    lines = []
    total = 0
    for run in found:
        for one in run.removed if removing else run.found:
            lines.append(f"{one.path}: {size(one.size_bytes)}, {one.why}")
            total += one.size_bytes
        lines += [f"note: {note}" for note in run.notes]
    if not any(run.found for run in found):
        lines.append("nothing to remove")
    elif removing:
        lines.append(f"removed: {size(total)}")
    else:
        lines.append(f"{size(total)}; nothing was removed: --yes removes them")
    return "\n".join(lines)
