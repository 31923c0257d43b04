"""Samples by number, or batches; data that may be either is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trackside.data.batches import describe
from trackside.data.counting import counted
from trackside.errors import DataError
from trackside.machine import randomness

_SAY_WHICH = (
    "of samples, `DataLoader(data, batch_size=32, shuffle=True)`; of batches, "
    "`DataLoader(data, batch_size=None)`"
)


def is_map_style(data: object) -> bool:
    """Whether `data` holds samples by number, as torch's own data sets do, and no batches.

    That is anything with `__len__` and `__getitem__` but loaders, mappings, text and tensors. Lists
    and tuples hold samples where the first entry has a part without dimensions: a number, a text,
    a tensor of shape `()`; otherwise they hold batches.

    Raises:
        DataError: The entries of a list may be samples or batches: vectors, parts that differ in
            their first dimension, or lists of numbers or texts of different lengths. Or the first
            entry of another object may be a batch: its parts agree in their first dimension.
    """
    if isinstance(data, (DataLoader, Iterator, Mapping, str, bytes, Tensor)):
        return False
    if isinstance(data, (list, tuple)):
        if data and not _is_sample(data[0]):
            _check_batches(data)
            return False
        _check_equal_lengths(data)
        return bool(data)
    if hasattr(data, "iloc"):
        raise DataError(
            "a table of columns is neither samples nor batches",
            expected="a data set that gives a sample by its number",
            received=type(data).__name__,
            remedy="give its arrays by name: {'x': table[names].to_numpy(), 'target': ...}",
        )
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return False
    if not _is_said_to_hold_samples(data):
        _check_samples(data)
    return True


def _is_said_to_hold_samples(data: Any) -> bool:
    """Whether the kind of `data` tells: a data set of torch, or of a library; rows of an array."""
    return isinstance(data, Dataset) or hasattr(data, "__getitems__") or hasattr(data, "shape")


def _check_samples(data: Any) -> None:
    """Refuse an object by whose numbers batches may come as well as samples."""
    if len(data) == 0:
        return
    with randomness.preserved():  # a sample may be drawn, or changed at random
        entry = data[0]
    if _is_sample(entry) or counted(entry) is None:
        return
    raise DataError(
        "the entries of an object with `__len__` and `__getitem__` may be samples, or batches",
        expected="samples with a number or a text in them, or parts that differ in their first "
        "dimension",
        received=f"{type(data).__name__}, whose first entry is {describe(entry)}",
        remedy=f"say which: {_SAY_WHICH}; or make it a `torch.utils.data.Dataset` of samples",
    )


def _is_sample(entry: object) -> bool:
    return any(
        isinstance(part, (bool, int, float, str)) or getattr(part, "shape", None) == ()
        for part in _parts(entry)
    )


def _parts(entry: object) -> list[Any] | tuple[Any, ...]:
    parts = list(entry.values()) if isinstance(entry, Mapping) else entry
    return parts if isinstance(parts, (list, tuple)) else [parts]


def _check_equal_lengths(data: list[Any] | tuple[Any, ...]) -> None:
    """Refuse lists of numbers or texts that differ in length: torch can't stack such samples."""
    lengths = {len(entry) for entry in data if isinstance(entry, list)}
    if len(lengths) < 2:
        return
    raise DataError(
        "the entries of a list may be samples, or batches",
        expected="lists of one length, where they are samples",
        received=f"lists of {min(lengths)} to {max(lengths)} entries, first {describe(data[0])}",
        remedy="say which: of samples, `DataLoader(data, batch_size=32, collate_fn=...)`, which "
        "pads them; of batches, `DataLoader(data, batch_size=None)`",
    )


def _check_batches(data: list[Any] | tuple[Any, ...]) -> None:
    """Refuse a list whose entries may be samples as well as batches, or inputs and targets."""
    shapes = [tuple(getattr(entry, "shape", ())) for entry in data]
    if len({shape[:1] for shape in shapes}) == 1 and () not in shapes and len(set(shapes)) > 1:
        raise DataError(
            "the entries of a list may be inputs and targets, or batches",
            received=", ".join(map(describe, data[:4])),
            remedy="inputs and targets: `TensorDataset(x, y)`; batches: "
            "`DataLoader(data, batch_size=None)`",
        )
    shapes = [tuple(part.shape) for part in _parts(data[0]) if len(getattr(part, "shape", ())) > 0]
    if not shapes or (max(map(len, shapes)) > 1 and len({shape[0] for shape in shapes}) == 1):
        return
    raise DataError(
        "the entries of a list may be samples, or batches",
        expected="samples with a number or a text in them; or batches, whose parts agree in their "
        "first dimension and have one more",
        received=f"first {describe(data[0])}",
        remedy=f"say which: {_SAY_WHICH}",
    )
