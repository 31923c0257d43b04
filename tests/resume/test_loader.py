"""A loader whose position is kept for another trainer."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.by_hand.loops import Noisy
from trackside import UsageError
from trackside.resume import KeptLoader


def loader(**options: Any) -> KeptLoader:
    data = DataLoader(Noisy(22), batch_size=4, shuffle=True)
    return KeptLoader(data, **options)


def drawn(batches: Any) -> list[float]:
    """A number for each batch, and one that the training draws after it."""
    return [float(inputs.sum()) + float(torch.rand(1)) for inputs, _ in batches]


def test_batches_and_draws_are_those_of_the_loader_itself() -> None:
    torch.manual_seed(3)
    plain = DataLoader(Noisy(22), batch_size=4, shuffle=True)
    expected = [drawn(plain), drawn(plain)]
    torch.manual_seed(3)
    kept = loader()

    assert [drawn(kept), drawn(kept)] == expected


@pytest.mark.parametrize("taken", [0, 2, 5])
def test_a_pass_goes_on_where_its_state_was_taken(taken: int) -> None:
    torch.manual_seed(3)
    kept = loader()
    drawn(kept)
    batches = iter(kept)
    drawn(islice(batches, taken))
    state = kept.state_dict()
    expected = drawn(batches)
    torch.manual_seed(99)
    again = loader()
    again.load_state_dict(state)

    assert again.position == (1, taken)
    assert drawn(again) == expected
    assert again.position == (2, 0)


def test_a_state_from_the_end_of_a_pass_goes_on_with_the_next() -> None:
    torch.manual_seed(3)
    kept = loader()
    drawn(islice(iter(kept), len(kept)))
    state = kept.state_dict()
    expected = drawn(kept)
    again = loader()
    again.load_state_dict(state)

    assert drawn(again) == expected


def test_it_is_between_two_steps_before_each_batch() -> None:
    places: list[tuple[int, int]] = []
    kept = loader()
    kept.between = lambda: places.append(kept.position)

    drawn(kept)

    assert places == [(0, done) for done in range(6)]


def test_an_iterator_that_was_only_asked_for_draws_nothing() -> None:
    kept = loader()
    torch.manual_seed(3)
    before = torch.get_rng_state()

    iter(kept)

    assert torch.equal(torch.get_rng_state(), before)
    assert kept.position == (0, 0)


def test_a_pass_that_was_left_counts_as_one() -> None:
    kept = loader()
    next(iter(kept))

    next(iter(kept))

    assert kept.position == (1, 1)


def test_data_without_a_length_is_refused() -> None:
    with pytest.raises(UsageError, match="without a length"):
        KeptLoader(batch for batch in [1, 2])
