"""Tensors compared bit by bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trackside.callbacks.watching.bits import differences


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor([math.nan, 1.0]), torch.zeros(0), torch.tensor(3), torch.ones(2).bfloat16()],
)
def test_equal_bits_are_no_difference(tensor: Tensor) -> None:
    assert not list(differences("the weight", {"a": tensor}, {"a": tensor.clone()}))


def test_zeros_of_both_signs_differ() -> None:
    found = list(differences("the weight", {"a": torch.zeros(2)}, {"a": torch.tensor([0.0, -0.0])}))

    assert [(one.elements, one.place) for one in found] == [(1, (1,))]


def test_a_difference_says_name_place_and_both_values() -> None:
    expected, other = torch.zeros(2, 3), torch.zeros(2, 3)
    other[1] = 2.0

    (found,) = differences("the weight", {"0.bias": expected}, {"0.bias": other})

    assert str(found) == "the weight 0.bias at [1, 0]: 2.0 instead of 0.0 and 2 elements more"


@pytest.mark.parametrize("other", [torch.zeros(3), torch.zeros(2).double(), None, 1.0])
def test_another_shape_type_or_kind_is_a_difference(other: object) -> None:
    assert list(differences("the weight", {"a": torch.zeros(2)}, {"a": other}))


def test_a_value_that_only_one_side_has_is_a_difference() -> None:
    assert list(differences("the state", {}, {"a": 1}))
