from __future__ import annotations

import pytest
import torch

from tests.checkpoint.states import E8M0, equal
from trackside.checkpoint.tensors import (
    DTYPES_BY_NAME,
    STAND_INS,
    STORED_DTYPES,
    Piece,
    is_same,
    restore_stand_in,
    why_not_savable,
)


def test_every_dtype_under_its_own_name_is_one_that_safetensors_reads() -> None:
    from safetensors import torch as of_torch

    assert {code: dtype for dtype, code in STORED_DTYPES.items()}.items() <= of_torch._TYPES.items()
    assert not set(STAND_INS) & set(of_torch._TYPES.values())


def test_every_stand_in_is_a_dtype_that_is_stored() -> None:
    assert set(STAND_INS.values()) <= set(STORED_DTYPES)
    assert set(DTYPES_BY_NAME.values()) == set(STAND_INS) | set(STORED_DTYPES)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.complex128, *E8M0], ids=str)
def test_a_stand_in_holds_the_same_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.rand(shape).to(dtype)
    stored_dtype, stored_shape, offsets, whole = Piece(
        "x", tensor, (0,) * len(shape), shape
    ).stored()
    stored = tensor.view(stored_dtype) if not dtype.is_complex else torch.view_as_real(tensor)
    assert (stored.dtype, tuple(stored.shape)) == (stored_dtype, stored_shape)
    assert whole == stored_shape
    assert len(offsets) == len(stored_shape)
    assert equal(restore_stand_in(stored, dtype), tensor)


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (torch.ones(3), torch.complex128),
        (torch.ones(3, dtype=torch.float64), torch.complex128),
        (torch.ones((), dtype=torch.float64), torch.complex128),
        (torch.ones(3), torch.float32),
    ],
)
def test_what_stands_in_for_nothing_is_refused(stored: torch.Tensor, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError):
        restore_stand_in(stored, dtype)


def test_the_bytes_of_a_piece_are_those_of_its_tensor() -> None:
    tensor = torch.tensor([1.0, -2.0], dtype=torch.bfloat16)
    assert bytes(Piece("x", tensor, (0,), (2,)).bytes_view()) == b"\x80\x3f\x00\xc0"
    assert bytes(Piece("x", torch.tensor(True), (), ()).bytes_view()) == b"\x01"
    assert bytes(Piece("x", torch.empty(0, 3), (0, 0), (0, 3)).bytes_view()) == b""


def test_the_same_memory_seen_another_way_is_another_tensor() -> None:
    base = torch.arange(4.0).reshape(2, 2)
    assert is_same(base, torch.nn.Parameter(base))
    assert not is_same(base, base.clone())
    assert not is_same(base, base.T)
    assert not is_same(base, base[0])
    assert not is_same(base, base.view(torch.int32))
    empty = base[:0]
    assert not is_same(empty, empty)


def test_a_parameter_is_savable_and_a_subclass_is_not() -> None:
    class Quantised(torch.Tensor):
        pass

    assert why_not_savable(torch.nn.Parameter(torch.ones(1))) is None
    assert why_not_savable(torch.nn.Buffer(torch.ones(1))) is None
    assert "Quantised" in str(why_not_savable(torch.ones(1).as_subclass(Quantised)))
    assert "torch.int4" in str(why_not_savable(torch.ones(1, dtype=torch.uint8).view(torch.int4)))  # type: ignore[attr-defined]
