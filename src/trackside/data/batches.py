"""Batches: moving them to a device, taking samples out of them, describing them in messages."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

Batch = Any
"""A batch of a loader: `(inputs, target)`, a mapping of tensors, or what the steps understand."""


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch with all its tensors on `device`; containers are rebuilt, other values kept."""
    return changed(
        batch,
        lambda part: (
            part.to(device, non_blocking=True) if isinstance(part, Tensor) else part.to(device)
        ),
    )


def changed(batch: Batch, change: Callable[[Any], Any]) -> Batch:
    """The batch with its tensors changed, and objects that have a `to` of theirs.

    Containers are rebuilt as what they are: mappings of any kind, tuples with names or without,
    lists, and objects of dataclasses and attrs. Other values are kept.
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        values = {key: changed(value, change) for key, value in batch.items()}
        if type(batch) is dict:
            return values
        if not isinstance(batch, MutableMapping):
            return type(batch)(values)  # type: ignore[call-arg]
        again = copy.copy(batch)  # of a default or an order that only the mapping itself knows
        for key, value in values.items():
            again[key] = value
        return again
    if hasattr(batch, "to"):  # a PackedSequence is a tuple as well
        return change(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(changed(part, change) for part in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(changed(part, change) for part in batch)
    names = fields_of(batch)
    if not names:
        return batch
    other = copy.copy(batch)
    for name in names:  # past what freezes an object: nobody else has this one
        object.__setattr__(other, name, changed(getattr(batch, name), change))
    return other


def parts_of(batch: Batch) -> Iterator[Any]:
    """The tensors of a batch, and objects that have a `to` of theirs, as `changed` finds them."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from parts_of(part)
    elif hasattr(batch, "to"):
        yield batch
    elif isinstance(batch, (tuple, list)):
        for part in batch:
            yield from parts_of(part)
    else:
        for name in fields_of(batch):
            yield from parts_of(getattr(batch, name))


def fields_of(value: object) -> tuple[str, ...]:
    """Names of the fields of a dataclass's or attrs' object; none for anything else."""
    if isinstance(value, type):
        return ()
    known = fields(value) if is_dataclass(value) else getattr(type(value), "__attrs_attrs__", ())
    return tuple(field.name for field in known if hasattr(value, field.name))


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
