"""Samples by number are a data set, of whatever library: shuffled and batched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from trackside.data.counting import samples_in
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


X, Y, LABELS = torch.randn(10, 4), torch.randn(10, 1), torch.arange(10)


@pytest.mark.parametrize("data", [(X, Y), (X, LABELS), (X, Y, LABELS), (X.numpy(), Y.numpy())])
def test_a_tuple_of_inputs_and_targets_is_a_data_set(data: Any) -> None:
    loader = loader_of("train", data, 4, False)
    assert isinstance(loader, DataLoader)
    first = next(iter(loader))
    assert [len(part) for part in first] == [4] * len(data)
    assert first[-1].equal(torch.as_tensor(data[-1])[:4])


def test_a_tuple_of_batches_stays_batches() -> None:
    data = (X, X[:3])
    assert loader_of("train", data, 4, True) is data


VECTORS = [torch.randn(4) for _ in range(5)]
AMBIGUOUS: dict[str, Any] = {
    "vectors": VECTORS,
    "pairs of vectors": [(x, x[:1]) for x in VECTORS],
    "vectors of one length": [(x, x) for x in VECTORS],
    "vectors by name": [{"x": x, "y": x[:2]} for x in VECTORS],
    "arrays": [(x.numpy(), x.numpy()) for x in VECTORS],
    "images and one-hot targets": [(torch.randn(3, 8, 8), torch.zeros(10)) for _ in range(5)],
    "inputs and targets in a list": [X, Y],
    "inputs and labels in a list": [X, LABELS],
    "a tuple of equal tensors": (X, X.clone()),
    "a tuple of two columns": (Y, Y),
    "texts in lists": [["a", "bb", "c"], ["d"]],
    "numbers in lists": [[1, 2], [3, 4], [5]],
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_data_with_two_meanings_is_asked_about(kind: str) -> None:
    with pytest.raises(DataError, match="or batches") as info:
        loader_of("train", AMBIGUOUS[kind], 4, True)
    assert info.value.remedy is not None


class Sequence:
    """Entries by number, of a class that says nothing about them, as Keras' sequences."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int) -> Any:
        torch.rand(1)  # what an entry draws is no part of the run
        return self.entry


MAY_BE_BATCHES: dict[str, Any] = {
    "pair": (X, Y),
    "by name": {"x": X, "target": LABELS},
    "alone": X,
    "arrays": (X.numpy(), Y.numpy()),
    "texts and labels": (["a", "b"], LABELS[:2]),
    "vectors of one length": (X[0], X[0]),
    "in a mapping of mappings": {"inputs": {"ids": X, "mask": X}, "labels": LABELS},
}


@pytest.mark.parametrize("kind", MAY_BE_BATCHES)
def test_a_sequence_whose_entries_may_be_batches_is_asked_about(kind: str) -> None:
    data: Any = Sequence(MAY_BE_BATCHES[kind])
    drawn = torch.get_rng_state()
    with pytest.raises(DataError, match="may be samples, or batches") as info:
        loader_of("train", data, 4, True)
    assert "batch_size=None" in str(info.value.remedy)
    assert torch.get_rng_state().equal(drawn)
    whole = next(iter(loader_of("train", DataLoader(data, batch_size=None), 4, True)))
    assert samples_in(whole) == samples_in(data[0])


SAMPLES: dict[str, Any] = {
    "with a number": (X[0], 3),
    "with a text": {"x": X, "name": "a"},
    "parts of different length": (X, X[0]),
    "an image and boxes": (torch.rand(3, 8, 8), {"boxes": torch.rand(2, 4)}),
    "an object": object(),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_sequence_of_samples_is_a_data_set(kind: str) -> None:
    assert isinstance(loader_of("train", Sequence(SAMPLES[kind]), 4, True), DataLoader)


class OfTorch(Sequence, Dataset[Any]):
    pass


class OfALibrary(Sequence):
    def __getitems__(self, places: list[int]) -> list[Any]:
        return [self[place] for place in places]


@pytest.mark.parametrize("data", [OfTorch((X, Y)), OfALibrary((X, Y)), X.numpy()])
def test_a_kind_that_says_that_it_holds_samples_is_believed(data: Any) -> None:
    assert isinstance(loader_of("train", data, 4, True), DataLoader)


def test_both_answers_are_taken() -> None:
    data = AMBIGUOUS["pairs of vectors"]
    samples = next(iter(loader_of("train", DataLoader(data, batch_size=2), 4, True)))
    batches = next(iter(loader_of("train", DataLoader(data, batch_size=None), 4, True)))
    assert [part.shape for part in samples] == [(2, 4), (2, 1)]
    assert [part.shape for part in batches] == [(4,), (1,)]
