"""`trackside train`: train what a file describes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import (
    AsJson,
    Files,
    Traceback,
    fit,
    launch,
    reported_errors,
    split,
    written,
)
from trackside.errors import UsageError

if TYPE_CHECKING:
    from trackside.config import Experiment


def train(
    arguments: Files,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on from a checkpoint: auto (the newest that is whole), best, a step, a path.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Train in so many processes on this machine.", show_default=False),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option(min=0, help="With --processes: start all again after a failure, so often."),
    ] = 0,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="First go through every part of the run on two batches, in seconds.",
        ),
    ] = False,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Train what FILE describes, then evaluate what it names under `evaluate:`.

    Several files are merged in their order; key=value sets one value on top of
    them, ~key removes one.

    \b
    Examples:
      trackside train run.yaml
      trackside train base.yaml large.yaml trainer.epochs=5
      trackside train run.yaml callbacks.progress=null
      trackside train run.yaml callbacks.early_stopping.patience=10
      trackside train run.yaml '~scheduler' --json > result.json
      trackside train run.yaml trainer.directory=runs/mine --resume auto
      trackside train run.yaml --processes 2
      trackside train run.yaml --rehearse
    """
    with reported_errors(as_json, traceback):
        files, overrides = split(arguments)
    if resume is not None:
        overrides.append(f"trainer.resume={written(resume)}")
    if max_restarts and processes is None:
        with reported_errors(as_json, traceback):
            raise UsageError(
                f"--max-restarts={max_restarts} has no effect in one process",
                expected="--processes beside it",
                remedy="add `--processes 1` to have this process started again after a failure",
            )
    if rehearse:
        with reported_errors(as_json, traceback):
            from trackside.cli import layout
            from trackside.config.experiment.rehearsal import rehearse as go_through

            said = str(go_through(_load(files, overrides)))
            print(layout.folded(said, layout.width(stream=sys.stderr), hang=2), file=sys.stderr)
    if processes is not None:
        with reported_errors(as_json, traceback):
            overrides += _agreed(files, overrides, max_restarts)
        options = ["--json"] * as_json + ["--traceback"] * traceback
        launch(["train", *files, *overrides, *options], processes, max_restarts)

    fit(lambda: _load(files, overrides), as_json=as_json, traceback=traceback)


def _load(files: list[str], overrides: list[str]) -> Experiment:
    from trackside.config import load

    return load(files, overrides)


def _agreed(files: list[str], overrides: list[str], max_restarts: int) -> list[str]:
    """Refuse what is wrong before any process is started; what all of them have to agree on."""
    from trackside.planning import checks

    values = _load(files, overrides).trainer_values
    agreed = []
    if values.get("directory") is None:
        agreed.append(f"trainer.directory={written(str(checks.directory(None)))}")
    if max_restarts and values.get("resume") is None:
        agreed.append("trainer.resume=auto")
    return agreed
