"""Batches of any form are moved as what they are, and samples are taken out of them."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from trackside.data.batches import changed, move, parts_of, take


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


# --- moving --------------------------------------------------------------------------------------


@dataclass
class Open:
    x: Any
    name: str = "open"


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any
    more: Any = None


class Attrs:
    """An object as attrs makes it."""

    __attrs_attrs__ = (SimpleNamespace(name="x"),)

    def __init__(self, x: Any) -> None:
        self.x = x


class Own:
    """An object that moves itself."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def to(self, device: torch.device) -> Own:
        return Own(device.type)


class Words(Mapping[str, Any]):
    """A mapping that is made of another one, and can't be changed."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        self.words = dict(words)

    def __getitem__(self, key: str) -> Any:
        return self.words[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __len__(self) -> int:
        return len(self.words)


def with_default(x: Any) -> Any:
    found = defaultdict(list)
    found["x"] = x
    return found


CONTAINERS: dict[str, Any] = {
    "dict": lambda x: {"x": x, "text": "kept"},
    "defaultdict": with_default,
    "ordered": lambda x: OrderedDict(b=x, a=1),
    "user dict": lambda x: UserDict(x=x),
    "own mapping": lambda x: Words({"x": x}),
    "list": lambda x: [x, None],
    "tuple": lambda x: (x, "text"),
    "named tuple": lambda x: Pair(x, x),
    "dataclass": Open,
    "frozen dataclass": lambda x: Frozen(x, 3),
    "attrs": Attrs,
}

batches = st.recursive(
    st.sampled_from([X, Y, "text", None, 3]),
    lambda inside: st.builds(
        lambda kind, x: CONTAINERS[kind](x), st.sampled_from(sorted(CONTAINERS)), inside
    ),
    max_leaves=4,
)


@given(batch=batches)
def test_every_tensor_of_a_batch_is_moved_and_the_batch_itself_is_left_alone(batch: Any) -> None:
    before = list(parts_of(batch))
    moved = move(batch, torch.device("meta"))
    assert type(moved) is type(batch)
    assert [part.device.type for part in parts_of(moved)] == ["meta"] * len(before)
    assert all(a is b for a, b in zip(parts_of(batch), before, strict=True))


def test_a_default_stays_the_default() -> None:
    moved = move(with_default(X), torch.device("meta"))
    assert moved["new"] == []


def test_what_is_no_tensor_is_kept_where_it_stands() -> None:
    moved = move(Open([X, {"n": 3}], "name"), torch.device("meta"))
    assert (moved.name, moved.x[1]) == ("name", {"n": 3})


def test_an_object_that_moves_itself_is_asked_to() -> None:
    moved = move(Frozen([Own()]), torch.device("meta"))
    assert moved.x[0].device == "meta"


def test_a_packed_sequence_moves_itself() -> None:
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    seen: list[Any] = []
    changed({"packed": packed}, seen.append)
    assert seen == [packed]
    assert isinstance(move(packed, torch.device("cpu")), PackedSequence)
