"""Pieces that wait for a tracker, in a checkpoint and out of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackside.checkpoint import check_savable
from trackside.tracking import undelivered
from trackside.tracking.media import Audio, File, Histogram, Picture, Table, Text, Video
from trackside.tracking.undelivered import Numbers, Waiting, state_of, waiting_in

MEDIA: dict[str, Any] = {
    "picture": Picture(np.zeros((2, 2, 3), np.uint8), Path("a.png"), "seen", 4),
    "histogram": Histogram(np.array([1, 2]), np.array([0.0, 1.0, 2.0])),
    "text": Text("hello"),
    "table": Table(("a", "b"), ((1, "x"), (2, "y"))),
    "sound": Audio(np.zeros(8), 8000),
    "film": Video(np.zeros((2, 4, 4, 3), np.uint8)),
    "file": File(Path("b.txt")),
}


@pytest.mark.parametrize("kind", undelivered.KINDS)
def test_a_medium_comes_out_of_a_checkpoint_as_it_went_in(kind: str) -> None:
    state = state_of([Waiting(kind, "name", 4, f"{kind} name", MEDIA[kind])])
    check_savable(state)

    (one,) = waiting_in(state)

    assert (one.kind, one.name, one.step, one.what) == (kind, "name", 4, f"{kind} name")
    for field in fields(MEDIA[kind]):
        given, found = getattr(MEDIA[kind], field.name), getattr(one.medium, field.name)
        assert np.array_equal(given, found) if isinstance(given, np.ndarray) else given == found


def test_nothing_that_waits_is_no_state() -> None:
    assert state_of([]) == {}


def test_a_checkpoint_holds_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undelivered, "MOST_BYTES", 400)
    waiting = [Waiting("text", str(number), 1, "text", Text("a")) for number in range(9)]

    assert len(state_of(waiting)["media"]) == 4


def test_the_second_piece_of_a_step_has_another_name() -> None:
    numbers = Numbers()

    assert [numbers.name("text a", 4) for _ in range(3)] == ["text a", "text a (2)", "text a (3)"]
    assert numbers.name("text a", 5) == "text a"


def test_the_numbers_of_the_step_of_a_checkpoint_go_on_after_it() -> None:
    numbers = Numbers()
    numbers.name("text a", 4)

    assert Numbers.of(numbers.state()).name("text a", 4) == "text a (2)"
    assert Numbers.of({}).name("text a", 4) == "text a"
