"""Batches cut into smaller ones along their samples."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trackside import DataError
from trackside.data.pieces import pieces_of

Pair = namedtuple("Pair", "inputs target")


@dataclass(frozen=True)
class Graphs:
    nodes: Any
    names: Any


X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
NAMES = list("abcdef")


@given(samples=st.integers(1, 40), largest=st.integers(1, 40))
def test_pieces_are_as_few_as_possible_and_equal_within_one_sample(
    samples: int, largest: int
) -> None:
    pieces = pieces_of(torch.arange(samples), samples, largest)
    sizes = [one.samples for one in pieces]
    assert torch.cat([one.data for one in pieces]).tolist() == list(range(samples))
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-samples // largest)


@pytest.mark.parametrize(
    ("batch", "first"),
    [
        ([X, Y], [X[:3], Y[:3]]),
        ((X, {"names": NAMES, "target": Y}), (X[:3], {"names": NAMES[:3], "target": Y[:3]})),
        (Pair(X, Y), Pair(X[:3], Y[:3])),
        ({"x": X, "temperature": torch.tensor(0.5), "task": "cls", "y": Y.numpy()}, None),
        (Graphs(X, NAMES), Graphs(X[:3], NAMES[:3])),
        ([X] * 6, [X[:3]] * 6),  # a list of six tensors of six samples, as a loader gives columns
    ],
)
def test_containers_are_rebuilt_and_cut_in_themselves(batch: Any, first: Any) -> None:
    piece = pieces_of(batch, 6, 3)[0].data
    if first is None:
        assert torch.equal(piece["x"], X[:3])
        assert (piece["temperature"], piece["task"]) == (batch["temperature"], "cls")
        assert piece["y"].tolist() == [0, 1, 2]
    else:
        assert type(piece) is type(first)
        assert repr(piece) == repr(first)


@pytest.mark.parametrize(
    "batch",
    [
        {"x": X, "mask": torch.ones(2, 2)},  # belongs to all samples, or is a fault
        (X, torch.nn.utils.rnn.pack_sequence([X])),
        (X, object()),
        {"x": X, "boxes": [X] * 6},  # one of each sample, or six columns: not guessed
    ],
)
def test_what_can_not_be_cut_is_refused_and_not_guessed(batch: Any) -> None:
    with pytest.raises(DataError, match="can't be cut into smaller ones"):
        pieces_of(batch, 6, 3)
