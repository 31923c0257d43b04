from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trackside.distributed.digests import LIMIT, chained, of_items, of_tensor, of_tensors

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)


@given(
    st.integers(1, 70), st.sampled_from(DTYPES), st.integers(0, 3), st.data(), st.sampled_from("ab")
)
def test_a_bit_that_differs_changes_the_digest_of_a_tensor(
    size: int, dtype: torch.dtype, offset: int, data: st.DataObject, kind: str
) -> None:
    whole = torch.arange(size + offset).to(dtype)
    tensor = whole[offset:]  # memory that begins anywhere
    raw = tensor.clone().view(torch.uint8)
    place = data.draw(st.integers(0, raw.numel() - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))

    assert of_tensor(tensor) == of_tensor(tensor.clone())
    assert of_tensor(tensor) != of_tensor(raw.view(dtype))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0),
        torch.tensor(True),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.eye(3).to_sparse(),
    ],
    ids=["empty", "scalar", "transposed", "conjugate", "sparse"],
)
def test_tensors_of_any_layout_have_a_digest(tensor: Tensor) -> None:
    assert of_tensors([tensor, tensor]).tolist() == [int(of_tensor(tensor))] * 2


def test_rows_that_have_changed_places_change_the_digest() -> None:
    rows = torch.arange(64.0).reshape(16, 4)

    assert of_tensor(rows) != of_tensor(rows.flip(0))


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_the_digest_of_several_depends_on_their_order_and_fits_a_vector(
    some: list[int], others: list[int]
) -> None:
    assert 0 <= chained(some) < LIMIT
    assert (chained(some) == chained(others)) == (some == others)


@pytest.mark.parametrize(
    ("some", "others"),
    [
        ([3, 1], [1, 3]),
        (["a", "b"], ["a", "c"]),
        (range(8), range(8, 16)),
        ([(0, 1)], [(1, 0)]),
        ([2**70], [2**71]),
    ],
)
def test_items_of_a_sampler_of_any_kind_have_a_digest(some: list[int], others: list[int]) -> None:
    assert of_items(some) == of_items(some[:])
    assert of_items(some) != of_items(others)
