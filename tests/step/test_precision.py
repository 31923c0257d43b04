from __future__ import annotations

import pytest
import torch

from trackside.step.precision import non_finite

BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("bad", BAD)
def test_tensors_that_are_not_finite_are_named(bad: float) -> None:
    named = [
        ("good", torch.zeros(3)),
        ("bad", torch.tensor([0.0, bad])),
        ("whole", torch.tensor([1, 2])),
        ("complex", torch.tensor(complex(0, bad))),
    ]

    assert non_finite(named) == ["bad", "complex"]


def test_large_values_are_finite_though_their_sum_is_not() -> None:
    named = [("large", torch.full((4,), 1e308, dtype=torch.float64))]

    assert non_finite(named) == []
    assert non_finite([("half", torch.full((4,), 60000.0, dtype=torch.float16))]) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_small_formats_are_looked_at(dtype: torch.dtype) -> None:
    assert non_finite([("x", torch.tensor([1.0, float("inf")]).to(dtype))]) == ["x"]
    assert non_finite([("x", torch.ones(3).to(dtype)), ("none", torch.ones(0))]) == []
