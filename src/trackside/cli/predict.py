"""`trackside predict`: the predictions of a run's weights, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trackside.cli.running import Folder, Overrides, Traceback, told


def predict(
    run: Folder,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The data set to predict.", show_default=False)
    ],
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The file to write; by default NAME.npz in RUN.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="auto (the newest that is whole), best, a step, or a path.")
    ] = "auto",
    traceback: Traceback = False,
) -> None:
    r"""Predict a data set of RUN, in its order, and write the predictions as NumPy arrays.

    \b
    Examples:
      trackside predict runs/mine test
      trackside predict runs/mine test --checkpoint best --output predictions.npz
    """
    with told(False, traceback):
        import numpy as np

        from trackside.config.experiment.kept import find_checkpoint, load_kept, predict_kept
        from trackside.paths import local_path

        experiment = load_kept(run, overrides or ())
        made = predict_kept(experiment, name, find_checkpoint(experiment, run, checkpoint))
        path = local_path(output or local_path(run) / f"{name}.npz", "output")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays(made))
    print(path)


def arrays(predictions: Any, name: str = "prediction") -> dict[str, Any]:
    """Predictions as arrays by name: tensors as they are, mappings and lists taken apart."""
    import numpy as np
    import torch

    if isinstance(predictions, torch.Tensor):
        kept = predictions.float() if predictions.dtype == torch.bfloat16 else predictions
        return {name: kept.numpy()}
    if isinstance(predictions, (dict, list, tuple)):
        parts = predictions.items() if isinstance(predictions, dict) else enumerate(predictions)
        found: dict[str, Any] = {}
        for key, part in parts:
            found |= arrays(part, str(key) if name == "prediction" else f"{name}.{key}")
        return found
    array = np.asarray(predictions)
    if array.dtype.hasobject:  # it would be pickled
        raise typer.BadParameter(f"predictions of type {type(predictions).__name__} can't be kept")
    return {name: array}
