"""`trackside.load`: the trained model of a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trackside.checkpoint import load_model
from trackside.config.experiment.kept import checkpoint_of, load_kept
from trackside.config.experiment.remotely import brought, local_copy
from trackside.errors import UnknownModelError, UsageError
from trackside.machine import randomness
from trackside.planning.parts import models_by_name
from trackside.progress import RunLimit
from trackside.trainer.assembly import start
from trackside.trainer.trainer import Trainer

logger = logging.getLogger("trackside")


def load(
    run: str | os.PathLike[str],
    checkpoint: str | int | os.PathLike[str] = "auto",
    *,
    name: str | None = None,
    into: nn.Module | Callable[[], nn.Module] | None = None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """The model of a run, with the weights of one of its checkpoints, in evaluation mode.

    The model is made again as the run made it: from the configuration in its folder, or by the
    function marked with `@trackside.program`, which is called. Nothing is unpickled.

    Args:
        run: The run's folder, or the address of a remote one: it is brought here first.
        checkpoint: `auto` for the newest that is whole, `best`, a step, or a checkpoint's path.
        name: Which model, where the run has several.
        into: The model, or a function that makes it, for a run whose model can't be made again.
        device: Where the model is moved.

    Raises:
        UsageError: The model can't be made again, there are several, or nothing says which
            checkpoint is the best.
        CheckpointError: There is no such checkpoint, or it doesn't fit the model.

    Example:
        >>> model = trackside.load("runs/digits", "best")  # doctest: +SKIP
    """
    folder, address = local_copy(run)
    which = checkpoint if isinstance(checkpoint, (str, int)) else Path(checkpoint)
    trainer = _trainer(folder, which) if into is None else None
    which = brought(address, folder, trainer, which)
    state = checkpoint_of(trainer, folder, which).state()
    name = _chosen(state["models"], name)
    with randomness.preserved():
        model = _made(trainer, name) if trainer is not None else into
        model = model if isinstance(model, nn.Module) or model is None else model()
    assert model is not None  # of a trainer, or given
    load_model(state["models"][name], model)
    _announce_averages(state.get("callbacks", {}), folder)
    return model.to(device).eval()


def _made(trainer: Trainer, name: str) -> nn.Module:
    """The model of that name, as the trainer makes it."""
    models = models_by_name(trainer.configure_model(start(trainer, "evaluate", RunLimit())))
    if name not in models:
        raise UnknownModelError.among(models, name)
    return models[name]


def _trainer(folder: Path, which: str | int | Path) -> Trainer:
    try:
        return load_kept(folder).trainer()
    except UsageError as error:
        asked = str(which) if isinstance(which, Path) else which
        given = f"trackside.load({str(folder)!r}, {asked!r}, into=model)"
        raise UsageError(
            error.message,
            expected=error.expected,
            received=error.received,
            remedy=f"give the model: `{given}`" + (f"; {error.remedy}" if error.remedy else ""),
        ) from error


def _chosen(models: Mapping[str, Any], name: str | None) -> str:
    if name is None and len(models) == 1:
        return next(iter(models))
    if name is None:
        raise UsageError(
            "the run has several models",
            expected="the name of one: " + ", ".join(models),
            remedy=f"trackside.load(..., name={next(iter(models), 'model')!r})",
        )
    if name not in models:
        raise UnknownModelError.among(models, name)
    return name


def _announce_averages(states: Mapping[str, Any], folder: Path) -> None:
    """Log which callbacks keep averages: evaluations may have used these in place of weights."""
    keep = [n for n, one in states.items() if isinstance(one, Mapping) and one.get("averages")]
    if keep:
        logger.warning(
            "the run in %s also keeps averages of the weights (%s): these are the weights "
            "themselves; `SaveWeights(average=%r)` writes averages",
            folder,
            ", ".join(keep),
            keep[0],
        )
