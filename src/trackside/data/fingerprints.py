"""Short numbers that show whether ranks hold the same data, without sending it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from trackside.data.batches import fields_of
from trackside.distributed.state import is_sharded

LOOKED_AT = 64
"""Entries of a long list that are looked at, spread over its length."""
DEEPEST = 4
"""Data sets, lists and mappings inside of each other that are looked into."""


class Fingerprint(NamedTuple):
    """Contents of a data set, as far as its attributes show them."""

    contents: int
    """Of what may be data: arrays, lists, mappings, data sets inside."""
    settings: int
    """Of single numbers and texts; they may differ between ranks that hold the same data."""


class _Sink:
    """Adds up what is seen."""

    def __init__(self) -> None:
        self.contents = 0
        self.settings = 0

    def add(self, what: bytes, *, is_data: bool) -> None:
        if is_data:
            self.contents = zlib.crc32(what, self.contents)
        else:
            self.settings = zlib.crc32(what, self.settings)


def fingerprint(data: object) -> Fingerprint:
    """Fingerprint of a data set: of its attributes, a few entries of each; no sample is loaded."""
    sink = _Sink()
    _feed_object(data, DEEPEST, sink)
    return Fingerprint(sink.contents, sink.settings)


class _Sha256:
    """The same for a digest that nobody can find other data for."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def add(self, what: bytes, *, is_data: bool) -> None:
        self.hash.update(b"%d:" % len(what) + what)


def sha256_of(value: object) -> str:
    """SHA-256 of all that is in a sample, a batch, or tensors by name; in hex."""
    sink = _Sha256()
    _feed_whole(value, sink)
    return sink.hash.hexdigest()


def digest(value: object) -> int:
    """A number that is the same for equal batches or samples: of all that is in `value`."""
    sink = _Sink()
    _feed_whole(value, sink)
    return sink.contents


def glimpse(batch: object) -> int:
    """A number that is the same for equal batches, from a few entries of each of their parts."""
    sink = _Sink()
    _feed(batch, DEEPEST, sink, is_data=True)
    return sink.contents


def indices_of(data: object) -> tuple[object, np.ndarray[Any, Any]] | None:
    """The data set below a `Subset`, and which of its samples are taken; None for another kind.

    A subset of a subset counts as one of what is below both.
    """
    if not isinstance(data, Subset):
        return None
    taken = np.asarray(data.indices)
    inside = indices_of(data.dataset)
    return (data.dataset, taken) if inside is None else (inside[0], inside[1][taken])


def _feed(value: object, depth: int, sink: _Sink, *, is_data: bool) -> None:
    if isinstance(value, (str, bytes, bool, int, float, complex, type(None), np.generic)):
        sink.add(repr(value).encode(), is_data=is_data)
    elif isinstance(value, Tensor):
        _feed_tensor(value, sink)
    elif isinstance(value, np.ndarray):
        _feed_array(value, sink)
    elif depth > 0 and isinstance(value, Mapping):
        sink.add(b"%d" % len(value), is_data=True)
        for key in _spread(list(value)):
            _feed(key, depth - 1, sink, is_data=True)
            _feed(value[key], depth - 1, sink, is_data=True)
    elif depth > 0 and isinstance(value, (list, tuple, range)):
        sink.add(b"%d" % len(value), is_data=True)
        for entry in _spread(value):
            _feed(entry, depth - 1, sink, is_data=True)
    elif depth > 0 and isinstance(value, Dataset):
        _feed_object(value, depth - 1, sink)


def _feed_object(value: object, depth: int, sink: _Sink) -> None:
    sink.add(type(value).__qualname__.encode(), is_data=True)
    if isinstance(value, (list, tuple)):
        _feed(value, depth, sink, is_data=True)
    for name, attribute in sorted(getattr(value, "__dict__", {}).items()):
        if not name.startswith("__"):
            _feed(attribute, depth, sink, is_data=False)


def _spread(entries: Sequence[Any]) -> Iterable[Any]:
    """All entries of a short list; of a long one, some over its whole length, its ends included."""
    if len(entries) <= LOOKED_AT:
        return entries
    last = len(entries) - 1
    return (entries[last * step // (LOOKED_AT - 1)] for step in range(LOOKED_AT))


def _feed_tensor(tensor: Tensor, sink: _Sink) -> None:
    sink.add(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), is_data=True)
    if tensor.layout is not torch.strided or tensor.is_meta or is_sharded(tensor):
        return
    rows = [tensor] if tensor.ndim == 0 else [tensor[i] for i in _spread(range(len(tensor)))]
    for row in rows:
        sink.add(_bytes_of(row.flatten()[:LOOKED_AT]), is_data=True)


def _feed_array(array: np.ndarray[Any, Any], sink: _Sink) -> None:
    sink.add(f"{array.dtype} {array.shape}".encode(), is_data=True)
    rows = [array] if array.ndim == 0 else [array[i] for i in _spread(range(len(array)))]
    for row in rows:
        some = np.ravel(row)[:LOOKED_AT]
        sink.add(
            str(some.tolist()).encode() if some.dtype.hasobject else some.tobytes(), is_data=True
        )


def _feed_whole(value: object, sink: _Sink | _Sha256) -> None:
    """All of a batch: tensors and arrays whole, containers, numbers and texts."""
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            value = value.to_dense()
        sink.add(f"{value.dtype} {tuple(value.shape)}".encode() + _bytes_of(value), is_data=True)
    elif isinstance(value, np.ndarray):
        plain = str(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        sink.add(f"{value.dtype} {value.shape}".encode() + plain, is_data=True)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            _feed_whole(key, sink)
            _feed_whole(part, sink)
    elif isinstance(value, (list, tuple)):
        sink.add(b"%d" % len(value), is_data=True)
        for part in value:
            _feed_whole(part, sink)
    elif isinstance(value, (str, bytes, bool, int, float, complex, type(None), np.generic)):
        sink.add(repr(value).encode(), is_data=True)
    else:
        for name in fields_of(value):
            _feed_whole(getattr(value, name), sink)


def _bytes_of(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    if plain.is_quantized:
        plain = plain.int_repr()
    return plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
