"""Whole tensors are cut into the batches that the ordinary loader makes, draw by draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trackside.data.source import DataSource
from trackside.data.tensors import TensorLoader, TensorMapping
from trackside.errors import DataError


def tensors(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(samples * 3.0).reshape(samples, 3), torch.arange(samples)


def flat(batch: Any) -> list[Any]:
    return list(batch.items()) if isinstance(batch, dict) else list(enumerate(batch))


def same(a: Any, b: Any) -> bool:
    pairs = zip(flat(a), flat(b), strict=True)
    return type(a) is type(b) and all(k == m and torch.equal(x, y) for (k, x), (m, y) in pairs)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 23),
    size=st.integers(1, 7),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    mapping=st.booleans(),
    skip=st.integers(0, 4),
)
def test_batches_and_draws_are_those_of_the_ordinary_loader(
    samples: int, size: int, shuffle: bool, drop_last: bool, mapping: bool, skip: int
) -> None:
    inputs, target = tensors(samples)
    dataset: Dataset[Any] = (
        TensorMapping({"x": inputs, "y": target}) if mapping else TensorDataset(inputs, target)
    )
    loader = DataLoader(dataset, size, shuffle=shuffle, drop_last=drop_last)
    if len(loader) == 0:
        return

    torch.manual_seed(0)
    expected = [list(loader), list(loader)]
    drawn_after = torch.rand(1)

    torch.manual_seed(0)
    source = DataSource("train", loader, 1)
    assert isinstance(source.loader, TensorLoader)
    found = [[batch.data for batch in source.begin(epoch)] for epoch in (0, 1)]
    assert torch.equal(torch.rand(1), drawn_after)
    for one, other in zip(expected, found, strict=True):
        assert len(one) == len(other)
        assert all(map(same, one, other))

    state = source.state_dict()
    resumed = DataSource("train", loader, 1)
    resumed.load_state_dict(state)
    rest = [batch.data for batch in resumed.resume(1, skip)]
    assert all(map(same, rest, expected[1][skip:]))
    assert len(rest) == max(0, len(expected[1]) - skip)


def test_a_batch_changed_in_place_leaves_the_data_alone() -> None:
    inputs, target = tensors(4)
    for shuffle in (False, True):
        for batch in DataSource(
            "val", DataLoader(TensorDataset(inputs, target), 2, shuffle), 1
        ).begin(0):
            batch.data[0].zero_()
    assert inputs[-1, -1] == 11


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(TensorDataset(*tensors(8)), 2, shuffle=True, generator=torch.Generator()),
        DataLoader(TensorDataset(*tensors(8)), 2, collate_fn=lambda samples: samples),
        DataLoader(TensorDataset(*tensors(8)), 2, num_workers=1),
        DataLoader(TensorDataset(*tensors(8)), None),
    ],
    ids=["own generator", "own collate_fn", "workers", "no batches"],
)
def test_a_loader_that_does_more_is_used_as_it_is(loader: DataLoader[Any]) -> None:
    assert not isinstance(DataSource("train", loader, 1).loader, TensorLoader)


def test_arrays_by_name_and_pairs_of_arrays_are_data_sets() -> None:
    by_name = DataSource("train", {"x": np.zeros((5, 2)), "target": torch.zeros(5)}, 2)
    pair = DataSource("train", (np.zeros((5, 2)), np.zeros(5)), 2)

    assert [len(batch.data["x"]) for batch in by_name.begin(0)] == [2, 2, 1]
    assert [len(batch.data[0]) for batch in pair.begin(0)] == [2, 2, 1]


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="differ in length"):
        DataSource("train", (np.zeros((5, 2)), np.zeros(4)), 2)
