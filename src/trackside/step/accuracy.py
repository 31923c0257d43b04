"""The share of samples that are classified as their target says."""

from __future__ import annotations

import torch
from torch import Tensor

from trackside.data.batches import describe
from trackside.errors import DataError
from trackside.machine.accelerator import exact_dtype


def accuracy(
    prediction: Tensor, target: Tensor, *, class_dim: int | None = None, ignore_index: int = -100
) -> Tensor:
    """Share of targets that are met: by the largest score, or by the sign of a single logit.

    Args:
        prediction: Class scores, shape `(B, C)` or `(B, C, ...)`; or one logit per sample, shape
            `(B)` or `(B, 1)`, where a positive one means class 1.
        target: Class indices, shape `(B)` or `(B, ...)`; or one-hot, the shape of the scores. For
            logits: 0 or 1.
        class_dim: The dimension of the classes; None means 1, and refuses scores that could have
            their classes last as well.
        ignore_index: Targets of this value do not count. Where nothing counts, the share is NaN.

    Raises:
        DataError: The shapes fit none of these.
    """
    if not prediction.is_floating_point():
        raise _refused(prediction, target)
    if _are_logits(prediction, target, class_dim):
        right = (prediction.reshape(-1) > 0) == (target.reshape(-1) > 0.5)
        counted = target.reshape(-1) != ignore_index
    else:
        dim = _dimension_of_classes(prediction, target, class_dim)
        if target.shape == prediction.shape:
            target = _classes_of(target, prediction, dim)
        right, counted = prediction.argmax(dim) == target, target != ignore_index
    exact = exact_dtype(right.device)
    return (right & counted).sum(dtype=exact) / counted.sum(dtype=exact)


def _are_logits(prediction: Tensor, target: Tensor, class_dim: int | None) -> bool:
    single = prediction.ndim == 1 or (prediction.ndim == 2 and prediction.shape[1] == 1)
    return (
        single
        and class_dim is None
        and target.shape
        in (
            prediction.shape[:1],
            (len(prediction), 1),
        )
    )


def _dimension_of_classes(prediction: Tensor, target: Tensor, class_dim: int | None) -> int:
    if target.shape == prediction.shape and prediction.ndim == 2 and prediction.shape[1] > 1:
        return 1 if class_dim is None else class_dim
    dims = (1, prediction.ndim - 1) if class_dim is None else (class_dim % prediction.ndim,)
    fitting = {dim for dim in dims if _without(prediction.shape, dim) == target.shape}
    if target.is_floating_point() or fitting != {dims[0]} or prediction.shape[dims[0]] < 2:
        raise _refused(prediction, target)
    return dims[0]


def _without(shape: torch.Size, dim: int) -> tuple[int, ...]:
    return (*shape[:dim], *shape[dim + 1 :])


def _classes_of(target: Tensor, prediction: Tensor, dim: int) -> Tensor:
    """Class indices of one-hot targets; several labels of one sample are none."""
    one_hot = ((target == 0) | (target == 1)).all() & (target.sum(dim) == 1).all()
    if not one_hot:
        raise _refused(prediction, target)
    return target.argmax(dim)


def _refused(prediction: Tensor, target: Tensor) -> DataError:
    return DataError(
        "the accuracy of these shapes is not defined",
        expected="scores (B, C) or (B, C, ...) with class indices (B) or (B, ...) or one-hot "
        "targets (B, C); or one logit per sample, (B) or (B, 1), with targets 0 and 1",
        received=f"prediction {describe(prediction)}, target {describe(target)}",
        remedy="classes in the last dimension: `functools.partial(accuracy, class_dim=-1)`; "
        "several labels per sample: torchmetrics' MultilabelAccuracy",
    )
