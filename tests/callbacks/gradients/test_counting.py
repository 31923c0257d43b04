"""Histograms count every value once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trackside.callbacks.gradients import counting
from trackside.callbacks.gradients.counting import histogram


def test_counts_and_edges_are_numpys() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = histogram(values.reshape(10, 100), 16)
    counts, edges = np.histogram(values.numpy(), 16)

    assert found.counts.tolist() == counts.tolist()
    assert found.edges == pytest.approx(edges)


def test_large_tensors_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.linspace(-1, 1, 101)
    expected = histogram(values, 7)
    monkeypatch.setattr(counting, "CHUNK", 10)

    assert histogram(values, 7).counts.tolist() == expected.counts.tolist()


def test_values_that_are_not_finite_are_in_no_bin() -> None:
    found = histogram(torch.tensor([0.0, 1.0, float("nan"), float("inf")]), 2)

    assert found.counts.tolist() == [1, 1]
    assert found.not_finite == 2


@pytest.mark.parametrize("values", [torch.full((3,), 5.0), torch.full((2,), float("nan"))])
def test_values_without_a_range_get_one(values: torch.Tensor) -> None:
    found = histogram(values, 4)

    assert found.edges[-1] - found.edges[0] == 1
    assert found.counts.sum() + found.not_finite == len(values)


def test_half_precision_is_counted() -> None:
    assert histogram(torch.tensor([1, 2], dtype=torch.bfloat16), 2).counts.tolist() == [1, 1]
