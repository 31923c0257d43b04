"""`trackside evaluate`: the metrics of a run's weights."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from trackside.cli.running import AsJson, Folder, Traceback, reported_errors


def evaluate(
    run: Folder,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|KEY=VALUE",
            help="Data sets (by default those under `evaluate:`); key=value to set.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="auto (the newest that is whole), best, a step, or a path.")
    ] = "auto",
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Evaluate the weights in a checkpoint of RUN on named data sets.

    RUN may be the address of a remote folder: what is needed is brought here first.

    \b
    Examples:
      trackside evaluate runs/mine
      trackside evaluate runs/mine test --checkpoint best --json
      trackside evaluate runs/mine test data.test.root=/other/data
      trackside evaluate s3://bucket/run test
    """
    with reported_errors(as_json, traceback):
        from trackside.config.experiment.kept import evaluate_kept
        from trackside.config.experiment.remotely import load_with_checkpoint
        from trackside.config.text.layers import split_arguments

        names, overrides = split_arguments(arguments or ())
        experiment, found, _ = load_with_checkpoint(run, overrides, checkpoint)
        metrics = evaluate_kept(experiment, names, found)
    if as_json:
        print(json.dumps(metrics))
    else:
        print("\n".join(f"{name} {value:.6g}" for name, value in metrics.items()))
