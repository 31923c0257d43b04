"""Digests: whole numbers that differ where values differ, so that ranks need not send the values.

Pure. A digest of a tensor is made of its bits, on its device; sums of whole numbers have no order,
so that equal bits give equal digests on every device. Ranks are never compared by Python's `hash`,
which differs between processes.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

LIMIT = 1 << 61
"""Digests are below it: so much, and its negative, fits into a vector of 64-bit numbers."""
_FACTOR = 1_000_003
_PARTS = 16


def chained(numbers: Iterable[int]) -> int:
    """One digest of several in their order."""
    found = 7
    for number in numbers:
        found = (found * _FACTOR + number + 1) % LIMIT
    return found


def of_text(text: str) -> int:
    """The digest of a text."""
    return zlib.crc32(text.encode())


def of_items(items: Sequence[Any]) -> int:
    """The digest of what a sampler gave for a batch: numbers of samples mostly, or keys."""
    if type(items) is range:
        return chained((items.start, items.stop, items.step))
    try:
        return zlib.crc32(array("q", items))
    except (TypeError, OverflowError):  # keys, pairs, arrays
        return of_text(repr(items))


@torch.no_grad()
def of_tensor(tensor: Tensor) -> Tensor:
    """The digest of the bits of a tensor, `int64` of shape `()`, on its device.

    A value that differs changes it, and so do parts that have changed places; within one of
    sixteen parts, the order of values has no say.
    """
    if tensor.layout is not torch.strided:
        tensor = (
            tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.values()
        )
    flat = tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
    if flat.storage_offset() % 8:  # part of another tensor: as 64-bit numbers it can't be read
        flat = flat.clone()
    whole = flat.numel() // 8 * 8
    total = flat[whole:].sum(dtype=torch.int64)
    if not whole:
        return total
    words = flat[:whole].view(torch.int64)
    length = words.numel() // _PARTS
    if length:
        parts = words[: length * _PARTS].view(_PARTS, length).sum(1, dtype=torch.int64)
        total = total + (parts * _odd_numbers(words.device)).sum()
    return total + words[length * _PARTS :].sum(dtype=torch.int64)


@cache
def _odd_numbers(device: torch.device) -> Tensor:
    return torch.arange(1, 2 * _PARTS, 2, dtype=torch.int64, device=device)


def of_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """The digests of several tensors of one device, `int64` of shape `(T,)`."""
    return torch.stack([of_tensor(tensor) for tensor in tensors])
