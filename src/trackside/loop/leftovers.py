"""Gradients that belong to no update: dropped, so that they are in no later one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from torch import nn

from trackside.loop.state import Training

logger = logging.getLogger("trackside")


def drop_leftovers(training: Training, *, tell: bool = False) -> None:
    """Drop the gradients of all models and of all that optimizers hold.

    Args:
        training: The run.
        tell: Whether to say once in a run that there were some: whoever called `backward` meant
            them for something.
    """
    found = False
    for parameter in parameters_of(training):
        if parameter.grad is not None:
            found = True
            parameter.grad = None
    if found and tell and not training.position.warned_of_leftovers:
        training.position.warned_of_leftovers = True
        logger.warning(
            "gradients that were there before `optimize` are dropped, at step %d: it begins "
            "without any; to apply several losses at once, give their sum",
            training.run.progress.steps_completed,
        )


def parameters_of(training: Training) -> Iterator[nn.Parameter]:
    """The parameters of all models, of the loss, and of optimizers; one may come twice."""
    for model in training.setup.modules.values():
        yield from model.parameters()
    for optimizer in training.setup.optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]
