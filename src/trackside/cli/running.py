"""Shared by commands that run something: print errors and results, start processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.refusal import INTERRUPTED, tell
from trackside.errors import UsageError, printable
from trackside.outcome import exit_code_of

if TYPE_CHECKING:
    from trackside.config import Experiment, Finished
    from trackside.config.experiment.programs import KeptProgram

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|KEY=VALUE",
        help="Files; key=value to set, ~key to remove.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="key=value to set, ~key to remove.", show_default=False
    ),
]
Folder = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result, or what is wrong, as JSON.")
]
Traceback = Annotated[
    bool, typer.Option("--traceback", help="Show where in the code a refusal came from.")
]

SUMMARY = "result"
"""Name of the default callback that says how a run ended."""


@contextmanager
def reported_errors(as_json: bool, traceback: bool) -> Iterator[None]:
    """Turn errors into words and exit codes; keep what callbacks print out of the JSON."""
    try:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except SystemExit as leaving:  # 143 after SIGTERM, or what the program itself said
        raise typer.Exit(exit_code_of(leaving)) from leaving
    except Exception as error:
        raise typer.Exit(tell(error, as_json=as_json, with_traceback=traceback)) from error


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Files and overrides. Raises `UsageError` where no file is among them."""
    from trackside.config.text.layers import split_arguments

    files, overrides = split_arguments(arguments)
    if not files:
        raise UsageError("overrides alone: name a file as well", expected="FILE KEY=VALUE ...")
    return files, overrides


def written(text: str) -> str:
    """A text as the value of an override, which is read as YAML: ` #` would begin a comment."""
    is_number = text.isascii() and text.isdecimal()
    return text if is_number else json.dumps(text, ensure_ascii=False)


def fit(load: Callable[[], Experiment | KeptProgram], *, as_json: bool, traceback: bool) -> None:
    """Run an experiment, print how it went, and leave with its exit code."""
    with reported_errors(as_json, traceback):
        finished = load().finish()

    from trackside.distributed.setup import RankInfo  # after what is reported_errors without torch

    text = json.dumps(_plain(finished)) if as_json else _summary(finished)
    if text and RankInfo.from_environment().rank == 0:
        print(text)
    raise typer.Exit(finished.exit_code)


def launch(command: list[str], processes: int, max_restarts: int) -> None:
    """Start a command of this program in several processes, and leave with their exit code."""
    from trackside.distributed.launcher import launch as start

    again = [sys.executable, "-m", "trackside", *command]
    raise typer.Exit(start(again, processes, max_restarts=max_restarts))


def _plain(finished: Finished) -> dict[str, object]:
    result = finished.result
    outcome = result.outcome
    return {
        "status": outcome.status.value,
        "reason": outcome.reason,
        "asked_by": outcome.asked_by,
        "step": outcome.step,
        "latest": {name: result.history.latest(name) for name in result.history.names},
        "metrics": dict(finished.metrics),
        "directory": str(result.directory),
        "callback_seconds": dict(result.callback_seconds),
    }


def _summary(finished: Finished) -> str:
    """Lines that `TrainerSummary` doesn't print, or all where it was removed."""
    result = finished.result
    lines = [f"{name} {value:.4g}" for name, value in finished.metrics.items()]
    if SUMMARY not in finished.trainer.callbacks:
        lines = [str(result.outcome), *lines, f"files in {result.directory}"]
    return printable("\n".join(lines))
