"""Copies hold what was, whatever a step does to the values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from trackside.step.copies import copied


class Pair(NamedTuple):
    first: Any
    second: Any


@pytest.mark.parametrize("kind", [lambda t: t, lambda t: {"a": [t]}, lambda t: Pair(1, (t,))])
def test_a_tensor_that_is_changed_later_is_kept_however_it_is_nested(kind: Any) -> None:
    tensor = torch.ones(2)
    kept = copied(kind(tensor))
    tensor.zero_()
    assert str(kept) == str(kind(torch.ones(2)))


def test_an_array_is_copied_too() -> None:
    array = np.ones(2)
    kept = copied([array])
    array[:] = 0
    assert kept[0].tolist() == [1, 1]


def test_a_copy_has_no_graph() -> None:
    assert not copied(torch.ones(1, requires_grad=True)).requires_grad


def test_other_values_are_the_same_objects() -> None:
    schedule = object()
    assert copied({"a": schedule})["a"] is schedule
