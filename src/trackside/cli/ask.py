"""`trackside ask`: steer a run that goes on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import AsJson, Folder, reported_errors
from trackside.outcome import FAILED

if TYPE_CHECKING:
    from trackside.config.experiment.inbox import Reply

_LOOK_EVERY_SECONDS = 0.2


def ask(
    run: Folder,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WISH",
            help="stop [REASON], save [REASON], end_epoch [REASON], evaluate DATA, profile STEPS, "
            "set NAME.OPTION=VALUE",
            show_default=False,
        ),
    ],
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the answer; 0 does not wait.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    r"""Ask something of the run in the folder RUN, while it goes on.

    The command is a file in that folder; the run takes it at its next safe point, on all ranks.
    The exit code is 1 when the run refuses.

    \b
    Examples:
      trackside ask runs/mine stop "good enough"
      trackside ask runs/mine save
      trackside ask runs/mine end_epoch "nothing new in it"
      trackside ask runs/mine evaluate test
      trackside ask runs/mine profile 20
      trackside ask runs/mine set early_stopping.patience=20
      trackside ask runs/mine set optimizer.lr=1e-4
    """
    with reported_errors(as_json, False):
        from trackside.config.experiment.inbox import ask as leave
        from trackside.config.experiment.inbox import read_answer, read_command
        from trackside.errors import UsageError
        from trackside.machine.paths import local_path
        from trackside.run_folder.claim import holder
        from trackside.run_folder.names import OUTCOME

        command = read_command(words)
        if (local_path(run, "run") / OUTCOME).is_file() and holder(run) is None:
            raise UsageError(f"the run in {run} has ended", remedy=f"trackside resume {run}")
        path = leave(run, command)
        deadline = time.monotonic() + wait
        answer = read_answer(path)
        while answer is None and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_SECONDS)
            answer = read_answer(path)
    print(json.dumps(asdict(answer) if answer else None) if as_json else _told(answer, path))
    raise typer.Exit(FAILED if answer is not None and not answer.accepted else 0)


def _told(answer: Reply | None, path: Path) -> str:
    if answer is None:
        return f"asked; no answer yet: it will stand in {path}"
    word = answer.words if answer.accepted else f"refused: {answer.words}"
    return f"{word} (step {answer.step:,})"
