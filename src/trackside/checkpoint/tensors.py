"""Tensors that can be saved, and how dtypes are stored that safetensors has no name for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trackside.distributed.state import is_sharded as is_sharded
from trackside.distributed.state import local_part as local_part

# What both safetensors and torch's reader of it know by name.
STORED_DTYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}

# The same bytes under a name that safetensors knows. Complex numbers get a last dimension of two.
STAND_INS: dict[torch.dtype, torch.dtype] = {
    torch.complex128: torch.float64,
    torch.complex32: torch.float16,
    **{
        dtype: torch.uint8
        for dtype in (getattr(torch, name, None) for name in ("float8_e8m0fnu", "float4_e2m1fn_x2"))
        if dtype is not None
    },
}

DTYPES_BY_NAME: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype for dtype in (*STORED_DTYPES, *STAND_INS)
}


class Piece(NamedTuple):
    """The part of a tensor that this rank writes: all of it, or its shard."""

    key: str
    tensor: Tensor
    """Contiguous, in host memory, in its own dtype."""
    offsets: tuple[int, ...]
    """Where the piece begins in the whole tensor, per dimension."""
    whole_shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's values in the file."""
        return self.tensor.numel() * self.tensor.element_size()

    def stored(self) -> tuple[torch.dtype, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Dtype, shape, offsets and whole shape under which the file holds it."""
        dtype, shape = self.tensor.dtype, tuple(self.tensor.shape)
        stand_in = STAND_INS.get(dtype)
        if stand_in is None:
            return dtype, shape, self.offsets, self.whole_shape
        if dtype.is_complex:
            return stand_in, (*shape, 2), (*self.offsets, 0), (*self.whole_shape, 2)
        return stand_in, shape, self.offsets, self.whole_shape

    def bytes_view(self) -> memoryview:
        """The values as bytes, without a copy."""
        if self.tensor.numel() == 0:
            return memoryview(b"")
        return self.tensor.reshape(-1).view(torch.uint8).numpy().data


def restore_stand_in(stored: Tensor, dtype: torch.dtype) -> Tensor:
    """`stored` with the dtype it had when it was saved. Raises `ValueError` when it can't be."""
    stand_in = STAND_INS.get(dtype)
    if stand_in is None or stored.dtype != stand_in:
        raise ValueError(f"{stored.dtype} does not stand in for {dtype}")
    if not dtype.is_complex:
        return stored.view(dtype)
    if stored.dim() == 0 or stored.shape[-1] != 2:
        raise ValueError(f"{tuple(stored.shape)} does not end in real and imaginary part")
    return torch.view_as_complex(stored)


def offsets_of_part(tensor: Any) -> tuple[int, ...] | None:
    """Place in the whole of the part of a DTensor that this rank holds; None where it has none."""
    from torch.distributed.checkpoint.default_planner import (  # noqa: PLC0415 - takes a second
        create_default_local_save_plan,
    )

    for item in create_default_local_save_plan({"": tensor}, False).items:
        assert item.tensor_data is not None, "a DTensor's item says where the part belongs"
        return tuple(item.tensor_data.chunk.offsets)
    return None


_PLAIN = (Tensor, torch.nn.Parameter)


def why_not_savable(tensor: Tensor) -> str | None:
    """The reason why `tensor` can't be saved, or None."""
    if type(tensor) not in _PLAIN:
        return _why_not_savable_class(tensor)
    if tensor.dtype in STORED_DTYPES and tensor.layout is torch.strided and not tensor.is_meta:
        return None
    if tensor.is_meta:
        return "a tensor on the meta device: it has no values yet"
    if tensor.layout is not torch.strided:
        return f"a sparse tensor ({tensor.layout}); save its indices and values, or `.to_dense()`"
    if tensor.dtype not in STAND_INS:
        return f"a tensor of {tensor.dtype}, which safetensors can't hold"
    return None


def _why_not_savable_class(tensor: Any) -> str | None:
    kind = type(tensor)
    if not is_sharded(tensor):
        return f"a tensor of the class {kind.__module__}.{kind.__qualname__}; save its parts"
    if any(placement.is_partial() for placement in tensor.placements):
        return "a DTensor with partial sums; reduce it first"
    return why_not_savable(tensor.to_local())


def address(tensor: Tensor) -> int:
    """Where its memory begins; 0 for an empty tensor."""
    part = tensor if type(tensor) in _PLAIN else local_part(tensor)
    return part.data_ptr()


def is_same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same memory, seen the same way. Empty ones never are."""
    placements = (getattr(a, "placements", None), getattr(b, "placements", None))
    if placements[0] != placements[1]:
        return False
    a, b = local_part(a), local_part(b)
    return a.numel() > 0 and _view_of(a) == _view_of(b)


def _view_of(part: Tensor) -> tuple[object, ...]:
    flags = (part.is_conj(), part.is_neg())
    return part.device, part.data_ptr(), part.shape, part.stride(), part.dtype, flags
