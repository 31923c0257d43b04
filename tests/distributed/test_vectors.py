from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trackside.distributed.vectors import NamedVector, number, to_host

NUMBERS = st.dictionaries(st.text(min_size=1), st.integers(-(2**40), 2**40), max_size=50)


@given(NUMBERS)
def test_a_vector_gives_back_what_went_in(values: dict[str, int]) -> None:
    vector = NamedVector(values)
    assert vector.unpack(vector.pack(), ranks_added=1, whole=True) == values


@given(st.lists(NUMBERS, min_size=1, max_size=1), st.integers(2, 9))
def test_a_sum_over_ranks_gives_back_the_sums(values: list[dict[str, int]], ranks: int) -> None:
    vector = NamedVector(values[0])
    total = vector.unpack(vector.pack() * ranks, ranks_added=ranks, whole=True)
    assert total == {name: value * ranks for name, value in values[0].items()}


@given(NUMBERS, NUMBERS)
def test_vectors_of_other_names_are_noticed(mine: dict[str, int], theirs: dict[str, int]) -> None:
    a, b = NamedVector(mine), NamedVector(theirs)
    if mine.keys() != theirs.keys() and len(a.pack()) == len(b.pack()):
        for combined in (a.pack() + b.pack(), torch.maximum(a.pack(), b.pack())):
            added = 2 if combined[0] == a.pack()[0] + b.pack()[0] else 1
            assert a.unpack(combined, ranks_added=added, whole=False) is None


def test_a_few_names_more_still_give_the_same_length() -> None:
    few, more = NamedVector({"a": 1}), NamedVector({str(n): 1 for n in range(20)})
    assert few.pack().shape == more.pack().shape


def test_other_shapes_under_one_name_are_noticed() -> None:
    a, b = NamedVector({"x": torch.zeros(2, 3)}), NamedVector({"x": torch.zeros(6)})
    assert a.unpack(b.pack(), ranks_added=1, whole=True) is None


def test_tensors_keep_shape_and_dtype() -> None:
    vector = NamedVector({"x": torch.ones(2, 2, dtype=torch.float16), "n": torch.tensor([3])})
    values = vector.unpack(vector.pack(), ranks_added=1, whole=True)
    assert values is not None
    assert values["x"].dtype == torch.float16
    assert values["x"].shape == (2, 2)
    assert values["n"].dtype == torch.int64


def test_a_mean_of_whole_tensors_is_not_whole() -> None:
    vector = NamedVector({"n": torch.tensor([3]), "k": 3})
    values = vector.unpack(vector.pack(), ranks_added=1, whole=False)
    assert values is not None
    assert values["n"].dtype == torch.float32
    assert isinstance(values["k"], float)


@pytest.mark.parametrize(("value", "like", "result"), [(2.0, 1, 2), (2.5, 1, 2.5), (2.0, 1.0, 2.0)])
def test_a_number_stays_whole_where_it_can(value: float, like: float, result: float) -> None:
    found = number(value, like=like)
    assert found == result
    assert type(found) is type(result)


def test_tensors_reach_the_host_as_they_were() -> None:
    tensors = {
        "a": torch.tensor([1.0, 2.0]),
        "b": torch.tensor(3, dtype=torch.int64),
        "c": torch.tensor([[4.0]]),
        "none": torch.empty(0),
    }
    arrived = to_host(tensors)
    assert list(arrived) == list(tensors)
    assert all(
        torch.equal(arrived[n], t) and arrived[n].dtype == t.dtype for n, t in tensors.items()
    )
