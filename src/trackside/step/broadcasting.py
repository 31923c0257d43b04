"""Losses that spread a target over all predictions, since its shape is another."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import torch
from torch import Tensor

from trackside.machine import randomness
from trackside.step.output import Loss

logger = logging.getLogger("trackside")


def tell_broadcast(loss: Loss | None, prediction: Any, target: Any) -> Literal[False]:
    """Warn where a loss compares each prediction with each target: (8, 1) beside (8,).

    torch makes (8, 8) of the two, and the model then learns the mean of all targets. A loss that
    brings them to one shape itself has the same value where they are given in one shape.

    Args:
        loss: Of the first batch; it is called once more where the shapes differ.
        prediction: What it was called with.
        target: Likewise.

    Returns:
        False: it has been looked at, and the next batch is not the first.
    """
    if loss is None or not isinstance(prediction, Tensor) or not isinstance(target, Tensor):
        return False
    if prediction.shape == target.shape or prediction.numel() != target.numel():
        return False
    if not (prediction.is_floating_point() and target.is_floating_point()):
        return False
    with torch.no_grad(), randomness.preserved():
        try:
            given = float(loss(prediction, target))
            alike = float(loss(prediction.reshape(target.shape), target))
        except Exception as error:  # not made for one shape: it knows what it does with the two
            logger.info("the loss can't be compared with one of equal shapes: %s", error)
            return False
    if not math.isclose(given, alike, rel_tol=1e-3, abs_tol=1e-6):
        logger.warning(
            "the loss compares each prediction with each target: the prediction has shape %s, the "
            "target %s. It is %.6g, and %.6g where both have one shape. To fix: bring them to one "
            "shape, `target.unsqueeze(-1)` in the data, or `.squeeze(-1)` at the end of the model",
            tuple(prediction.shape),
            tuple(target.shape),
            given,
            alike,
        )
    return False
