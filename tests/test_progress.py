"""Counters of what is done, and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.errors import ConfigurationError
from trackside.progress import Progress, RunLimit, counted, is_count, whole_number

counts = st.none() | st.integers(0, 9)


def test_counters_survive_a_round_trip_through_json() -> None:
    progress = Progress(1, 1, 7, 14, 100, 4, 8, 60, seconds=1.5)
    restored = Progress()
    restored.load_state_dict(json.loads(json.dumps(progress.state_dict())))

    assert restored == progress


def test_a_counter_is_read_under_the_name_that_older_checkpoints_have_for_it() -> None:
    state = Progress(epochs_completed=3, epochs_closed=2).state_dict()
    state["epochs_ended"] = state.pop("epochs_closed")
    restored = Progress()
    restored.load_state_dict(state)

    assert (restored.epochs_completed, restored.epochs_closed) == (3, 2)


def test_a_missing_counter_is_an_error() -> None:
    state = Progress().state_dict()
    del state["samples_completed"]

    with pytest.raises(KeyError, match="samples_completed"):
        Progress().load_state_dict(state)


def test_counters_within_the_epoch_count_from_its_beginning() -> None:
    progress = Progress(steps_completed=3, batches_completed=6, samples_completed=24)
    progress.begin_epoch()
    progress.steps_completed += 1
    progress.batches_completed += 2
    progress.samples_completed += 8

    within = (
        progress.epoch_steps_completed,
        progress.epoch_batches_completed,
        progress.epoch_samples_completed,
    )
    assert within == (1, 2, 8)


@pytest.mark.parametrize(
    ("value", "at_least", "yes"),
    [
        (0, 0, True),
        (0, 1, False),
        (3, 1, True),
        (-1, 0, False),
        (True, 0, False),
        (2.0, 0, False),
        ("2", 0, False),
        (None, 0, False),
    ],
)
def test_a_count_is_a_whole_number(value: Any, at_least: int, yes: bool) -> None:
    assert is_count(value, at_least) is yes


@given(epochs=counts, steps=counts, epoch_steps=st.none() | st.integers(1, 5))
def test_a_limit_is_reached_exactly_at_its_total(
    epochs: int | None, steps: int | None, epoch_steps: int | None
) -> None:
    limit = RunLimit(epochs, steps, epoch_steps)
    total = limit.total_steps
    if epoch_steps is None or total is None:
        return
    reached = [
        limit.reached(Progress(steps_completed=n, epochs_completed=n // epoch_steps))
        for n in range(total + 1)
    ]

    assert reached == [False] * total + [True]


def test_without_the_length_of_an_epoch_only_steps_tell_the_total() -> None:
    assert RunLimit(epochs=3).total_steps is None
    assert RunLimit(epochs=3, steps=10).total_steps == 10
    assert RunLimit().total_steps is None


@pytest.mark.parametrize("value", [0, 1.0, True, "1", None, -1])
def test_a_number_that_cannot_be_used_is_refused_with_the_name_of_its_option(value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        whole_number(value, "patience", at_least=1)
    assert caught.value.option == "patience"
    assert caught.value.expected == "a whole number, 1 or more"


def test_a_number_that_can_be_used_is_returned() -> None:
    assert whole_number(3, "patience", at_least=1) == 3


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (1, "batch", "1 batch"),
        (2, "batch", "2 batches"),
        (0, "step", "0 steps"),
        (1400, "sample", "1,400 samples"),
    ],
)
def test_a_number_is_said_with_its_noun(count: int, noun: str, words: str) -> None:
    assert counted(count, noun) == words
