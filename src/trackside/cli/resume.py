"""`trackside resume`: go on with a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import (
    AsJson,
    Folder,
    Overrides,
    Traceback,
    fit,
    launch,
    reported_errors,
    written,
)

if TYPE_CHECKING:
    from trackside.config import Experiment
    from trackside.config.experiment.programs import KeptProgram


def resume(
    run: Folder,
    overrides: Overrides = None,
    checkpoint: Annotated[
        str, typer.Option(help="auto (the newest that is whole), best, a step, or a path.")
    ] = "auto",
    processes: Annotated[
        int | None, typer.Option(min=1, help="In so many processes.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Go on with the run in the folder RUN, from its newest checkpoint that is whole.

    RUN may be the address of a remote folder: what is needed is brought here first.

    \b
    Examples:
      trackside resume runs/2026-11-22_08-30-25
      trackside resume runs/mine trainer.epochs=40
      trackside resume runs/mine --checkpoint 1200
      trackside resume s3://bucket/run
    """
    changes = [*(overrides or ()), f"trainer.resume={written(checkpoint)}"]
    if processes is not None:
        with reported_errors(as_json, traceback):
            _load(run, changes)
        options = ["--json"] * as_json + ["--traceback"] * traceback
        launch(
            ["resume", run, *(overrides or ()), "--checkpoint", checkpoint, *options], processes, 0
        )
    fit(lambda: _load(run, changes), as_json=as_json, traceback=traceback)


def _load(run: str, overrides: list[str]) -> Experiment | KeptProgram:
    from trackside.config.experiment.remotely import load_to_go_on

    return load_to_go_on(run, overrides)
