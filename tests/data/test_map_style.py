"""Samples by number are a data set, of whatever library: shuffled and batched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from trackside.data.loaders import loader_of
from trackside.errors import DataError


class Bare:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {"x": torch.ones(4) * place, "label": place % 3}


class Iterated(Bare):
    def __iter__(self) -> Any:
        return (self[place] for place in range(10))


PAIRS = [(torch.randn(4), torch.tensor(place)) for place in range(10)]
NUMBERED = [{"x": torch.randn(4), "label": place} for place in range(10)]


@pytest.mark.parametrize("data", [Bare(), Iterated(), PAIRS, tuple(PAIRS), NUMBERED])
def test_samples_by_number_are_batched(data: Any) -> None:
    loader = loader_of("train", data, 4, True)
    assert isinstance(loader, DataLoader)
    first = next(iter(loader))
    parts = first.values() if isinstance(first, dict) else first
    assert [len(part) for part in parts] == [4, 4]


@pytest.mark.parametrize(
    "data", [[(torch.zeros(4, 2), torch.zeros(4))], [torch.zeros(4, 2)], [{"x": torch.zeros(4, 2)}]]
)
def test_lists_of_batches_stay_batches(data: Any) -> None:
    assert loader_of("train", data, 4, True) is data


def test_a_table_of_columns_is_refused() -> None:
    table = type("Table", (Bare,), {"iloc": None})()
    with pytest.raises(DataError, match="by name"):
        loader_of("train", table, 4, True)
