"""How many samples a batch has is what all its parts agree on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from trackside.data.counting import counted, samples_in
from trackside.errors import DataError


class Pair(NamedTuple):
    inputs: Tensor
    target: Tensor


@dataclass
class Batched:
    x: Tensor
    names: list[str]


X, Y = torch.zeros(4, 3), torch.zeros(4)
IMAGES = [torch.zeros(3, 8, 8)] * 4
BOXES = [{"boxes": torch.zeros(n, 4), "labels": torch.zeros(n)} for n in (1, 2, 0, 5)]

BATCHES: dict[str, tuple[Any, int | None]] = {
    "a tensor": (X, 4),
    "a pair": ((X, Y), 4),
    "a list of parts": ([X, Y, X], 4),
    "a mapping": ({"x": X, "y": Y}, 4),
    "a defaultdict": (defaultdict(list, x=X), 4),
    "a named tuple": (Pair(X, Y), 4),
    "a dataclass": (Batched(X, ["a"] * 4), 4),
    "arrays": ((X.numpy(), Y.numpy()), 4),
    "nested parts": (([X, X], Y), 4),
    "parts and a number": ({"x": X, "epoch": 3}, 4),
    "parts and None": ((X, None), 4),
    "lists of images and boxes": ((IMAGES, BOXES), 4),
    "texts": ({"text": ["a", "b"]}, 2),
    "texts and labels": ((["a", "b"], torch.zeros(2)), 2),
    "packed sequences": (pack_sequence([torch.zeros(3), torch.zeros(2)]), 2),
    "masks first": ((torch.zeros(7, 7), X), None),
    "time first": ((torch.zeros(9, 4, 2), Y), None),
    "a graph": ({"x": torch.zeros(9, 2), "edges": torch.zeros(2, 30)}, None),
    "an object": (object(), None),
    "nothing": (None, None),
    "an empty list": ([], 0),
    "a number": (torch.tensor(1.0), None),
    "a list of pairs": ([(X, X)] * 3, None),
}


@pytest.mark.parametrize(("batch", "samples"), BATCHES.values(), ids=BATCHES.keys())
def test_parts_that_agree_tell_the_samples(batch: Any, samples: int | None) -> None:
    assert counted(batch) == samples


def test_parts_that_disagree_are_refused_where_samples_are_needed() -> None:
    with pytest.raises(DataError, match="collate_fn"):
        samples_in((torch.zeros(7, 7), X))


# --- structures of any kind ----------------------------------------------------------------------


def leaves(samples: int) -> st.SearchStrategy[Any]:
    return st.sampled_from(
        [
            torch.zeros(samples, 3),
            torch.zeros(samples),
            torch.zeros(samples, 2, 5).numpy(),
            list(range(samples)),
            ["text"] * samples,
            torch.tensor(1.0),
            None,
            "one text",
        ]
    )


def structures(samples: int) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves(samples),
        lambda inside: st.one_of(
            st.tuples(inside, inside),
            st.dictionaries(st.sampled_from("abc"), inside, min_size=1),
            st.builds(Pair, inside, inside),
            st.builds(Batched, inside, inside),
            st.lists(inside, min_size=1, max_size=3),
        ),
        max_leaves=5,
    )


@given(data=st.data(), samples=st.integers(4, 9))
def test_a_tensor_beside_any_structure_tells_its_samples(data: Any, samples: int) -> None:
    structure = data.draw(structures(samples))
    assert counted((torch.zeros(samples, 2), structure)) in (samples, None)
    assert counted({"x": torch.zeros(samples, 2), "more": structure}) in (samples, None)


@given(data=st.data(), samples=st.integers(4, 9))
def test_tensors_that_disagree_tell_nothing_whatever_is_beside_them(
    data: Any, samples: int
) -> None:
    structure = data.draw(structures(samples))
    assert counted((torch.zeros(samples), torch.zeros(samples + 1), structure)) is None
    assert counted({"a": torch.zeros(samples + 1, 2), "b": torch.zeros(samples), "c": 3}) is None
