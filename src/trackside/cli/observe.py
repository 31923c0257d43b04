"""`trackside observe`: callbacks over a run that is over, as if they had been there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import AsJson, Folder, Traceback, reported_errors
from trackside.errors import printable

if TYPE_CHECKING:
    from trackside.proof.late_callbacks import Observed

SHOWN = 10
"""Steps that are listed of those at which a callback was due and nothing is left."""


def observe(
    run: Folder,
    callbacks: Annotated[
        list[str],
        typer.Argument(
            metavar="CALLBACK",
            help="Its name, or {kind: NAME, option: VALUE}.",
            show_default=False,
        ),
    ],
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where they write; by default `observed` in the run's folder.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Let callbacks hear RUN after its end: its records, and the weights of its checkpoints.

    Loggers and trackers get every record. Callbacks with a schedule are due where they would have
    been, if a checkpoint of that step is left; those that listen to evaluations hear one at each
    checkpoint. Hooks for which a run keeps nothing are named.

    \b
    Examples:
      trackside observe runs/mine tensorboard
      trackside observe runs/mine csv_logger --into seen
      trackside observe runs/mine "{kind: prediction_images, every: 1 epoch}"
      trackside observe runs/mine confusion_matrix tensorboard --into seen
    """
    with reported_errors(as_json, traceback):
        from trackside.proof.joining import callback_from
        from trackside.proof.late_callbacks import observe as let_hear

        found = let_hear(run, [callback_from(text) for text in callbacks], into=into)
    print(json.dumps(found.as_dict()) if as_json else printable(_page(found)))


def _page(found: Observed) -> str:
    steps = ", ".join(f"{step:,}" for step in found.checkpoints) or "none"
    lines = [
        f"records      {found.records:,}",
        f"checkpoints  {steps}",
        f"written to   {found.folder}",
    ]
    for name, hooks in found.without_data.items():
        lines.append(f"no data      {name}: {', '.join(hooks)}")
    for name, missed in found.missed.items():
        more = ", ..." if len(missed) > SHOWN else ""
        listed = ", ".join(map(str, missed[:SHOWN]))
        lines.append(f"no weights   {name}: due at step {listed}{more}, no checkpoint is left")
    return "\n".join(lines)
