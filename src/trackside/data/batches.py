"""Batches: moving them to a device, taking samples out of them, describing them in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Batch = Any
"""A batch of a loader: `(inputs, target)`, a mapping of tensors, or what the steps understand."""


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch with all its tensors on `device`; containers are rebuilt, other values kept."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        moved = {key: move(value, device) for key, value in batch.items()}
        return moved if type(batch) is dict else type(batch)(moved)  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(part, device) for part in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(move(part, device) for part in batch)
    if hasattr(batch, "to"):
        return batch.to(device)
    return batch


def take(batch: Batch, samples: Sequence[int]) -> Batch:
    """Some samples of a batch, as memory of their own; one may come twice.

    Args:
        batch: Tensors with samples along their first dimension, and lists with one entry of each;
            in tuples, lists and mappings, which are rebuilt. Other values are kept.
        samples: Their numbers, from 0, in the order that is wanted.
    """
    if isinstance(batch, Tensor):
        return batch[list(samples)] if batch.ndim else batch
    if isinstance(batch, Mapping):
        return {name: take(part, samples) for name, part in batch.items()}
    if isinstance(batch, (tuple, list)):
        if not any(isinstance(part, (Tensor, Mapping, tuple, list)) for part in batch):
            return [batch[index] for index in samples]  # names, paths: one of each sample
        parts = [take(part, samples) for part in batch]
        if hasattr(batch, "_fields"):
            return type(batch)(*parts)
        return tuple(parts) if isinstance(batch, tuple) else parts
    return batch


def describe(value: object) -> str:
    """Description of `value` for messages: `tuple(float32 (32, 64), int64 (32,))`."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {describe(part)}" for key, part in value.items())
        return f"{type(value).__name__}({inside})"
    if isinstance(value, (tuple, list)):
        shown = [describe(part) for part in value[:4]] + (["..."] if len(value) > 4 else [])
        return f"{type(value).__name__}({', '.join(shown)})"
    return type(value).__name__
