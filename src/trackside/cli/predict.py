"""`trackside predict`: the predictions of a run's weights, as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trackside.cli.running import AsJson, Folder, Overrides, Traceback, reported_errors


def predict(
    run: Folder,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The data set to predict.", show_default=False)
    ],
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file to write; by default NAME.npz in the folder of RUN.", show_default=False
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="auto (the newest that is whole), best, a step, or a path.")
    ] = "auto",
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Predict a data set of RUN, in its order, and write the predictions as NumPy arrays.

    RUN may be the address of a remote folder: what is needed is brought here first.

    \b
    Examples:
      trackside predict runs/mine test
      trackside predict runs/mine test --checkpoint best --output predictions.npz
    """
    with reported_errors(as_json, traceback):
        import numpy as np

        from trackside.callbacks.evaluation.prediction_files import arrays
        from trackside.config.experiment.kept import predict_kept
        from trackside.config.experiment.remotely import load_with_checkpoint
        from trackside.machine.paths import file_path

        asked = None if output is None else file_path(output, "--output", ".npz")
        experiment, found, folder = load_with_checkpoint(run, overrides or (), checkpoint)
        path = asked or folder / f"{name}.npz"
        made = predict_kept(experiment, name, found)
        path.parent.mkdir(parents=True, exist_ok=True)
        made_of = arrays(made)
        np.savez(path, **made_of)
    if as_json:
        shapes = {name: list(one.shape) for name, one in made_of.items()}
        samples = min((shape[0] for shape in shapes.values() if shape), default=0)
        print(json.dumps({"file": str(path), "samples": samples, "arrays": shapes}))
    else:
        print(path)
