"""Samples are taken out of batches of any form."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from trackside.data.batches import take


class Pair(NamedTuple):
    inputs: Tensor
    target: Tensor


X, Y = torch.arange(12.0).reshape(4, 3), torch.arange(4)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (X, X[[2, 0, 2]]),
        ([X, Y], [X[[2, 0, 2]], Y[[2, 0, 2]]]),
        ((X, ["a", "b", "c", "d"]), (X[[2, 0, 2]], ["c", "a", "c"])),
        ({"x": X, "n": 3}, {"x": X[[2, 0, 2]], "n": 3}),
        (Pair(X, Y), Pair(X[[2, 0, 2]], Y[[2, 0, 2]])),
        (torch.tensor(5), torch.tensor(5)),
    ],
)
def test_samples_come_in_the_order_that_is_wanted(batch: Any, expected: Any) -> None:
    taken = take(batch, [2, 0, 2])

    assert repr(taken) == repr(expected)
    assert type(taken) is type(expected)


def test_what_is_taken_keeps_no_large_batch_alive() -> None:
    assert take(torch.zeros(100, 1000), range(2)).untyped_storage().nbytes() == 2 * 1000 * 4
