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

    \b
    Examples:
      trackside evaluate runs/mine
      trackside evaluate runs/mine test --checkpoint best --json
      trackside evaluate runs/mine test data.test.root=/other/data
    """
    with reported_errors(as_json, traceback):
        from trackside.config.experiment.kept import evaluate_kept, find_checkpoint, load_kept
        from trackside.config.text.layers import split_arguments

        names, overrides = split_arguments(arguments or ())
        experiment = load_kept(run, overrides)
        metrics = evaluate_kept(experiment, names, find_checkpoint(experiment, run, checkpoint))
    if as_json:
        print(json.dumps(metrics))
    else:
        print("\n".join(f"{name} {value:.6g}" for name, value in metrics.items()))
