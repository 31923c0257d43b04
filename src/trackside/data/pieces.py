"""A batch cut into smaller ones along its samples, where its structure says how."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from trackside.data.batches import Batch, describe, fields_of
from trackside.data.counting import counted
from trackside.errors import DataError


class Piece(NamedTuple):
    """Some neighbouring samples of a batch."""

    data: Batch
    samples: int


class _Range(NamedTuple):
    """Samples `start` to `stop` of a batch of `samples`."""

    start: int
    stop: int
    samples: int


def pieces_of(batch: Batch, samples: int, largest: int) -> list[Piece]:
    """The batch in as few pieces as possible, equal within one sample; tensors stay views of it.

    Args:
        batch: Tensors with samples along their first dimension, lists with one entry of each; in
            mappings, tuples, lists and objects of dataclasses, which are rebuilt. Single numbers
            and texts, and tensors without dimensions, are in every piece.
        samples: How many it has.
        largest: The most samples of a piece, 1 or more.

    Raises:
        DataError: Something in it has another number of entries, or can't be cut.
    """
    number = -(-samples // largest)
    ends = [samples * end // number for end in range(number + 1)]
    ranges = [_Range(a, b, samples) for a, b in itertools.pairwise(ends)]
    pieces = [Piece(_cut(batch, one, outermost=True), one.stop - one.start) for one in ranges]
    if any(counted(data) != size for data, size in pieces):
        raise _not_cut(batch, samples)
    return pieces


def _cut(part: Any, place: _Range, *, outermost: bool = False) -> Any:
    if isinstance(part, Tensor) or (hasattr(part, "shape") and hasattr(part, "dtype")):
        if not len(part.shape):
            return part
        if part.shape[0] != place.samples:
            raise _not_cut(part, place.samples)
        return part[place.start : place.stop]
    if isinstance(part, Mapping):
        return _cut_mapping(part, place)
    if part is None or isinstance(part, (str, bytes, bool, int, float)):
        return part
    if hasattr(part, "to"):  # a PackedSequence, say, which is a tuple as well
        raise _not_cut(part, place.samples)
    if isinstance(part, (tuple, list)):
        return _cut_sequence(part, place, outermost=outermost)
    names = fields_of(part)
    if not names:
        raise _not_cut(part, place.samples)
    other = copy.copy(part)
    for name in names:  # past what freezes an object: nobody else has this one
        object.__setattr__(other, name, _cut(getattr(part, name), place))
    return other


def _cut_mapping(part: Mapping[Any, Any], place: _Range) -> Any:
    values = {key: _cut(value, place) for key, value in part.items()}
    if type(part) is dict:
        return values
    if not isinstance(part, MutableMapping):
        return type(part)(values)  # type: ignore[call-arg]
    again = copy.copy(part)
    for key, value in values.items():
        again[key] = value
    return again


def _cut_sequence(part: Sequence[Any], place: _Range, *, outermost: bool) -> Any:
    """One entry of each sample, or several parts that are cut in themselves; not both."""
    if hasattr(part, "_fields"):
        return type(part)(*(_cut(entry, place) for entry in part))
    entries = len(part) == place.samples
    plain = all(isinstance(entry, (str, bytes, bool, int, float)) for entry in part)
    inside = not plain and counted(tuple(part)) == place.samples
    if entries and not inside:
        return part[place.start : place.stop]
    if inside and (not entries or (outermost and any(isinstance(one, Tensor) for one in part))):
        return type(part)(_cut(entry, place) for entry in part)  # type: ignore[call-arg]
    raise _not_cut(part, place.samples)


def _not_cut(part: object, samples: int) -> DataError:
    return DataError(
        "the batch can't be cut into smaller ones",
        expected=f"parts with {samples} entries, one of each sample",
        received=describe(part),
        remedy="put the samples first in every part (give the loader a `collate_fn`), and what "
        "belongs to all of them into the model",
    )
