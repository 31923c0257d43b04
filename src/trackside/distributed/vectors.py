"""Named values as one vector and back, so that many of them travel together."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_PADDED_TO = 32
_CHECKS = 2


class NamedVector:
    """Numbers and tensors by name, in order of names, as one vector of doubles.

    The vector begins with a checksum of names and shapes, once positive and once negative, so that
    a sum, a minimum and a maximum over ranks all show whether the ranks meant the same. Its length
    is padded, so that a few names more on one rank still meet a vector of the same length, and get
    an error instead of a hang.

    Args:
        values: Numbers, or tensors of any shape.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._names = sorted(values)
        self._tensors = [torch.as_tensor(values[name]).detach() for name in self._names]
        places = {t.device for t in self._tensors if t.device.type != "cpu"}
        self._device = next(iter(places), torch.device("cpu"))
        shapes = (list(t.shape) for t in self._tensors)
        self.description = "; ".join(
            f"{n}{s or ''}" for n, s in zip(self._names, shapes, strict=True)
        )
        """Names and shapes, for people."""
        self._checksum = float(zlib.crc32(self.description.encode()))

    def pack(self) -> Tensor:
        """The vector, on the accelerator if one of the values is there."""
        check = [self._checksum, -self._checksum]
        head = torch.tensor(check, dtype=torch.float64, device=self._device)
        parts = [t.to(self._device, torch.float64).reshape(-1) for t in self._tensors]
        vector = torch.cat([head, *parts])
        return torch.nn.functional.pad(vector, (0, -vector.numel() % _PADDED_TO))

    def unpack(self, vector: Tensor, *, ranks_added: int, whole: bool) -> dict[str, Any] | None:
        """The values back from a combined vector, as they came in: kind, shape, dtype, device.

        Args:
            vector: What a collective made of the vectors of all ranks.
            ranks_added: How many checksums were added up; 1 for a mean, minimum or maximum.
            whole: Whether whole numbers stay whole.

        Returns:
            None when the ranks' names or shapes differ.
        """
        expected = self._checksum * ranks_added
        if vector[:_CHECKS].tolist() != [expected, -expected]:
            return None
        sizes = [t.numel() for t in self._tensors]
        pieces = torch.split(vector[_CHECKS : _CHECKS + sum(sizes)], sizes)
        values = {
            name: _as_before(piece, self._values[name], tensor, whole)
            for name, tensor, piece in zip(self._names, self._tensors, pieces, strict=True)
        }
        return {name: values[name] for name in self._values}


def number(value: float, *, like: float) -> float:
    """`value` as a whole number where `like` is one and `value` can be."""
    return int(value) if isinstance(like, int) and float(value).is_integer() else value


def _as_before(piece: Tensor, original: Any, tensor: Tensor, whole: bool) -> Any:
    if not isinstance(original, Tensor):
        value = float(piece.item())
        return number(value, like=original) if whole else value
    dtype = tensor.dtype if whole or tensor.is_floating_point() else torch.get_default_dtype()
    return piece.reshape(tensor.shape).to(tensor.device, dtype)


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors on the CPU; those of one device and dtype come in one transfer."""
    kinds: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    for name, tensor in tensors.items():
        kinds.setdefault((tensor.device, tensor.dtype), []).append(name)
    arrived: dict[str, Tensor] = {}
    for names in kinds.values():
        arrived |= zip(names, _one_transfer([tensors[name] for name in names]), strict=True)
    return {name: arrived[name] for name in tensors}


def _one_transfer(tensors: list[Tensor]) -> Iterable[Tensor]:
    flat = torch.cat([t.detach().reshape(-1) for t in tensors]).cpu()
    pieces = torch.split(flat, [t.numel() for t in tensors])
    return (piece.reshape(t.shape) for piece, t in zip(pieces, tensors, strict=True))
