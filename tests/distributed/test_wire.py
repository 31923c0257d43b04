from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trackside.distributed.wire import UnsendableError, pack, unpack

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    LEAVES | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def back(value: Any) -> Any:
    return unpack(pack(value))


@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert back(value) == value
    assert repr(back(value)) == repr(value)  # 1, 1.0 and True are equal


def test_nan_and_infinities_come_back() -> None:
    assert math.isnan(back(math.nan))
    assert back([math.inf, -math.inf]) == [math.inf, -math.inf]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_tensors_come_back_bit_by_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.ones(shape).to(dtype)
    found = back({"inner": [tensor, 1, tensor]})["inner"]
    assert found[1] == 1
    for copy in (found[0], found[2]):
        assert copy.dtype == dtype
        assert copy.shape == tensor.shape
        assert torch.equal(copy, tensor)


def test_a_view_comes_back_as_what_it_shows() -> None:
    tensor = torch.arange(6).reshape(2, 3).T[1:]
    assert torch.equal(back(tensor), tensor)


def test_arrays_and_their_scalars_come_back() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert np.array_equal(back(array), array)
    assert back(array).dtype == array.dtype
    scalar = back(np.float32(1.5))
    assert (scalar, type(scalar)) == (1.5, np.float32)


def test_what_came_back_can_be_written_to() -> None:
    tensor = back(torch.zeros(3))
    tensor += 1
    assert tensor.tolist() == [1.0, 1.0, 1.0]


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, object()]}, r"object at value\['a'\]\[1\]"),
        (Colour.RED, "Colour at value"),
        ({object(): 1}, "object at value's keys"),
        (np.array([object()]), "ndarray at value"),
        ({1, 2}, "set at value"),
    ],
)
def test_anything_else_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(UnsendableError, match=place):
        pack(value)
