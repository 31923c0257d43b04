"""Schedules as values and as text: tokens, shares, points, warm-ups, and what is joined."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.errors import ScheduleError
from trackside.schedule import AllOf, Every


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("1_000_000 tokens", Every(tokens=1_000_000)),
        ("1,000,000 tokens", Every(tokens=1_000_000)),
        ("25 %", Every(percent=25)),
        ("12.5% of the run", Every(percent=12.5)),
        ("4 per epoch", Every(per_epoch=4)),
        ("4 times per epoch", Every(per_epoch=4)),
        ("at 10, 100 steps, 25 %", Every(at=["10 steps", "100 steps", "25 %"])),
        ("100 steps after 1 epoch", Every(steps=100, after="1 epoch")),
        ("100 steps or first", Every(steps=100, first=True)),
        ("100 steps and last", Every(steps=100, last=True)),
        ("1 epoch and 30 minutes", Every(epochs=1) & Every(seconds=1800)),
        ("1 epoch & 5 steps or 10 %", (Every(epochs=1) & Every(steps=5)) | Every(percent=10)),
    ],
)
def test_text_is_understood(text: str, schedule: Any) -> None:
    assert Every.parse(text) == schedule


@pytest.mark.parametrize(
    "schedule",
    [
        Every(samples=1_000_000),
        Every(percent=12.5, after="10 %"),
        Every(per_epoch=4, first=True, last=True),
        Every(at=["1000 steps", "25 %"], last=True),
        Every(epochs=1, last=True) & Every(seconds=1800, last=True),
        Every(at=["5 steps"]) | (Every(epochs=1) & Every(steps=100)),
    ],
)
def test_a_schedule_is_the_same_after_text_and_back(schedule: Any) -> None:
    assert Every.parse(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(percent=0), "a schedule can't be every 0 percent"),
        (lambda: Every(percent=101), "a schedule can't be every 101 percent"),
        (lambda: Every(per_epoch=1.5), "a schedule can't be every 1.5 per_epoch"),  # type: ignore[arg-type]
        (lambda: Every(steps=1, at=["2 steps"]), "a schedule has exactly one unit"),
        (lambda: Every(at=[]), "at=[] are no points"),
        (lambda: Every(at="100 steps"), "at='100 steps' are no points"),
        (lambda: Every(at=["4 per epoch"]), "'4 per epoch' isn't a moment"),
        (lambda: Every(steps=1, after="1 epoch or 2 steps"), "'1 epoch or 2 steps' isn't a moment"),
        (lambda: Every(steps=1, after="1 minute"), "'60 seconds' isn't a moment"),
        (lambda: Every.parse("first"), "'first' says nothing but first"),
        (lambda: Every.parse("at 10 % and 50 %"), "points can't be joined by `and`"),
        (
            lambda: Every(steps=1) & (Every(steps=2) | Every(epochs=1)),
            "alternatives can't be joined by `&`",
        ),
    ],
)
def test_a_wrong_schedule_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        make()
    assert str(caught.value).splitlines()[0] == message


def test_a_part_of_an_epoch_is_refused_with_the_way_to_say_it() -> None:
    with pytest.raises(ScheduleError, match="4 per epoch"):
        Every.parse("0.25 epochs")


def test_points_are_parts_of_their_own() -> None:
    schedule = Every(at=["5 steps", "1 epoch"])

    assert [part.is_looked_at for part in schedule.parts] == ["steps", "epochs"]
    assert schedule.units == {"steps", "epochs"}


def test_with_epochs_among_them_several_periods_are_looked_at_after_epochs() -> None:
    assert AllOf((Every(epochs=1), Every(steps=3))).is_looked_at == "epochs"
    assert AllOf((Every(samples=1), Every(steps=3))).is_looked_at == "steps"
