"""Values as bytes and back, without pickle: what ranks send each other besides plain tensors.

Numbers, text, None, lists, tuples, mappings, tensors and NumPy arrays, nested as you like. Anything
else is refused with its place in the value, so that nothing received ever runs code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackside.errors import TracksideError

_PLAIN = (str, int, float, bool, type(None))
_HEADER_BYTES = 8


class UnsendableError(TracksideError):
    """A value that ranks can't send each other without pickle."""


def pack(value: Any) -> bytes:
    """`value` as bytes: a JSON skeleton, then the contents of tensors and arrays.

    Raises:
        UnsendableError: Something in it is neither JSON-like, nor a tensor, nor an array.
    """
    blobs: list[bytes] = []
    skeleton = json.dumps(_encode(value, blobs, "value")).encode()
    return b"".join([len(skeleton).to_bytes(_HEADER_BYTES, "little"), skeleton, *blobs])


def unpack(data: bytes) -> Any:
    """The inverse of `pack`. Tensors come back on the CPU."""
    end = _HEADER_BYTES + int.from_bytes(data[:_HEADER_BYTES], "little")
    return _decode(json.loads(data[_HEADER_BYTES:end]), _Blobs(data, end))


class _Blobs:
    """Reads the contents behind the skeleton in the order in which they were written."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def take(self, size_bytes: int) -> bytearray:
        start, self._at = self._at, self._at + size_bytes
        return bytearray(self._data[start : self._at])  # writable, and no view of the whole message


def _encode(value: Any, blobs: list[bytes], place: str) -> Any:
    # Exact types: a subclass (an enum, say) would come back as something else in silence.
    if type(value) in _PLAIN:
        return value
    if type(value) is list:
        return [_encode(item, blobs, f"{place}[{i}]") for i, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_encode(item, blobs, f"{place}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        # Pairs, because keys may be numbers or tuples.
        return {
            "mapping": [
                [_encode(key, blobs, f"{place}'s keys"), _encode(item, blobs, f"{place}[{key!r}]")]
                for key, item in value.items()
            ]
        }
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        blobs.append(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        return {"tensor": [str(plain.dtype).removeprefix("torch."), list(plain.shape)]}
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        blobs.append(value.tobytes())
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [value.dtype.str, list(value.shape)]}
    if type(value) is bytes:
        blobs.append(value)
        return {"bytes": len(value)}
    raise UnsendableError(
        "a value can't be sent to other ranks",
        expected="numbers, text, None, lists, tuples, mappings, tensors, NumPy arrays, bytes",
        received=f"{type(value).__qualname__} at {place}",
        remedy="turn it into one of these first (nothing is pickled between ranks)",
    )


def _decode(node: Any, blobs: _Blobs) -> Any:
    if isinstance(node, list):
        return [_decode(item, blobs) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tuple":
        return tuple(_decode(item, blobs) for item in content)
    if kind == "mapping":
        return {_decode(key, blobs): _decode(item, blobs) for key, item in content}
    if kind == "tensor":
        dtype: torch.dtype = getattr(torch, content[0])
        empty = torch.empty(content[1], dtype=dtype)
        if not empty.numel():
            return empty
        raw = blobs.take(empty.numel() * empty.element_size())
        return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).view(content[1])
    if kind in {"array", "scalar"}:
        dtype_, shape = np.dtype(content[0]), content[1]
        raw = blobs.take(int(np.prod(shape, dtype=np.int64)) * dtype_.itemsize)
        array = np.frombuffer(raw, dtype=dtype_).reshape(shape)
        return array if kind == "array" else array[()]
    return bytes(blobs.take(content))
