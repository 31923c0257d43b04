"""Samples of a batch mixed with others of it: draws, soft targets, and losses that take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from traceback import walk_tb
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trackside.data.batches import describe
from trackside.errors import ConfigurationError, DataError
from trackside.machine import randomness
from trackside.run import Run
from trackside.step.output import TARGETS

SHARES = ([0.5, 0.5], [0.9, 0.1])
"""Of two classes in two targets whose losses must differ."""


class Mixture(NamedTuple):
    """Inputs of a batch that is mixed, and the share of each sample."""

    inputs: Tensor
    """The mixed inputs, as the batch has them."""
    share: float
    """Share of the sample itself in its target, from 0 to 1; the rest is its partner's."""


def draws(seed: int, run: Run) -> np.random.Generator:
    """A generator for the batch under way, by its place in the run: a resume draws alike."""
    place = (seed, run.progress.batches_completed, run.world.rank)
    return np.random.default_rng(np.random.SeedSequence(place))


def check_share(alpha: float, probability: float) -> None:
    """Refuse a distribution that doesn't exist. Raises `ConfigurationError`."""
    for option, value, most in (("alpha", alpha, np.inf), ("probability", probability, 1.0)):
        if not 0 < value <= most or np.isinf(value):
            raise ConfigurationError(
                f"{option}={value!r} can't be used",
                expected="a number above 0" if option == "alpha" else "above 0, up to 1",
                option=option,
            )


def check_loss(run: Run, classes: int, name: str) -> None:
    """Refuse a loss that doesn't take shares of classes; it is tried on two samples.

    A trainer that overrides `training_step`, or a model that has its own loss, isn't tried.

    Raises:
        ConfigurationError: The loss fails on soft targets, or is the same for all of them.
    """
    loss = getattr(run.steps, "loss", None)
    own_step = not run.steps.training_step.__module__.startswith("trackside.")
    if loss is None or own_step:
        return
    scores = torch.linspace(-1, 1, 2 * classes, device=run.device).reshape(2, classes)
    found = []
    with torch.no_grad(), randomness.preserved():
        for shares in SHARES:
            target = torch.zeros(2, classes, device=run.device)
            target[:, :2] = torch.tensor(shares)
            try:
                found.append(float(loss(scores, target)))
            except Exception as error:
                raise _unfit(loss, name, f"it fails: {error}") from error
    if found[0] == found[1]:
        raise _unfit(loss, name, "it has one value for half of a class and for a tenth of it")


def note_classes(error: BaseException, classes: int, name: str) -> None:
    """Add to an error of a loss that the model has scores for another number of classes.

    Args:
        error: With the frames of the step, as far as it was not compiled.
        classes: Number of classes of the targets that were made.
        name: Of the callback that made them.
    """
    for frame, _ in walk_tb(error.__traceback__):
        scores, target = frame.f_locals.get("prediction"), frame.f_locals.get("target")
        if not isinstance(scores, Tensor) or not isinstance(target, Tensor):
            continue
        if target.shape[1:] == (classes,) and scores.ndim == 2 and scores.shape[1] != classes:
            error.add_note(
                f"`{name}(classes={classes})` made targets of {classes} classes, and the model has "
                f"{scores.shape[1]} scores for each sample: give it classes={scores.shape[1]}"
            )
            return


def _unfit(loss: object, name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"`{name}` makes targets that are shares of classes, (B, C), and the loss doesn't take "
        f"them: {why}",
        expected="a loss of scores (B, C) and probabilities (B, C), such as nn.CrossEntropyLoss()",
        received=getattr(loss, "__name__", type(loss).__name__),
        remedy=f"another loss, or without `{name}`",
    )


def mixed(batch: Any, classes: int, mix: Callable[[Tensor, Tensor], Mixture], order: Any) -> Any:
    """A batch whose samples are mixed with those in another order, of the form that it had.

    Args:
        batch: A pair of inputs and target, or a mapping with one tensor of floats and a target.
        classes: Number of classes, for targets that are class indices.
        mix: Mixes the inputs with those of the partners.
        order: Maps the number of samples to the order of their partners.

    Raises:
        DataError: It has another form, or targets that aren't classes.
    """
    inputs, target, put = _parts(batch)
    partners = torch.from_numpy(order(len(inputs))).to(inputs.device)
    new, share = mix(inputs, inputs[partners])
    soft = shares_of_classes(target, classes, inputs.dtype)
    return put(new, soft * share + soft[partners] * (1 - share))


def shares_of_classes(target: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Targets as shares of classes, shape `(B, C)`.

    Args:
        target: Class indices `(B)`, or shares already.
        classes: Number of classes.
        dtype: Of the shares.

    Raises:
        DataError: They are neither, or an index is outside.
    """
    if target.is_floating_point() and target.shape[1:] == (classes,):
        return target.to(dtype)
    if target.is_floating_point() or target.ndim != 1:
        raise _not_classes(target, classes)
    try:
        return functional.one_hot(target.long(), classes).to(dtype)
    except RuntimeError as error:  # an index is outside
        raise _not_classes(target, classes, f": {error}") from error


def _not_classes(target: Tensor, classes: int, why: str = "") -> DataError:
    return DataError(
        f"these targets can't be mixed{why}",
        expected=f"class indices (B), from 0 to {classes - 1}, or shares of classes (B, {classes})",
        received=describe(target),
        remedy="give `classes` as many as the model has; ignored targets can't be mixed",
    )


def _parts(batch: Any) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Any]]:
    """Inputs and target of a batch, and how it is made of others."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        inputs, target = batch
        if isinstance(inputs, Tensor) and _is_float(inputs) and isinstance(target, Tensor):
            return inputs, target, lambda new, soft: (new, soft)
    if isinstance(batch, Mapping):
        keys = [key for key in TARGETS if isinstance(batch.get(key), Tensor)]
        floats = [key for key, value in batch.items() if key not in TARGETS and _is_float(value)]
        if len(keys) == 1 == len(floats):
            (key,), (name,) = keys, floats
            return batch[name], batch[key], lambda new, soft: {**batch, name: new, key: soft}
    raise DataError(
        "this batch can't be mixed",
        expected="(inputs, target) with inputs of floats, or a mapping with one tensor of floats "
        "and one of the keys " + ", ".join(TARGETS),
        received=describe(batch),
    )


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0
