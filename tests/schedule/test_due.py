"""Schedules fire when counts are crossed, whatever the step size, and depend on progress only."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.errors import ScheduleError
from trackside.progress import Progress, RunLimit
from trackside.schedule import STEP_UNITS, AnyOf, Due, Every, firings, reached

UNITS = ("steps", "batches", "epochs", "samples", "seconds")


def walk(batch_sizes: list[int], epoch_steps: int = 3) -> list[Progress]:
    """Progress after each step of one batch each."""
    progress, seen = Progress(), []
    for number, size in enumerate(batch_sizes, 1):
        progress = Progress(
            steps_completed=number,
            batches_completed=number,
            samples_completed=progress.samples_completed + size,
            epochs_completed=number // epoch_steps,
            epochs_closed=number // epoch_steps,
            seconds=float(progress.samples_completed + size),
        )
        seen.append(progress)
    return seen


sizes = st.lists(st.integers(1, 7), min_size=1, max_size=30)


@st.composite
def parts(draw: st.DrawFn) -> Every:
    unit = draw(st.sampled_from(UNITS))
    options: dict[str, Any] = {unit: draw(st.integers(1, 9)), "first": draw(st.booleans())}
    return Every(**options, last=draw(st.booleans()))


schedules = parts() | st.lists(parts(), min_size=2, max_size=3).map(lambda p: AnyOf(tuple(p)))


# --- firing ------------------------------------------------------------------------------------


@given(sizes=sizes, amount=st.integers(1, 40))
def test_samples_fire_once_per_step_in_which_a_multiple_is_crossed(
    sizes: list[int], amount: int
) -> None:
    due = Due(Every(samples=amount))
    fired = [p.steps_completed for p in walk(sizes) if due.crossed(p)]

    expected, before = [], 0
    for progress in walk(sizes):
        if progress.samples_completed // amount > before // amount:
            expected.append(progress.steps_completed)
        before = progress.samples_completed
    assert fired == expected


@given(amount=st.integers(1, 12), steps=st.integers(0, 40))
def test_steps_fire_at_every_multiple(amount: int, steps: int) -> None:
    due = Due(Every(steps=amount))
    fired = [p.steps_completed for p in walk([1] * steps) if due.crossed(p)]

    assert fired == list(range(amount, steps + 1, amount))


@given(sizes=sizes, schedule=schedules)
def test_asked_twice_at_one_point_it_fires_once(sizes: list[int], schedule: Any) -> None:
    due = Due(schedule)
    for progress in walk(sizes):
        due.crossed(progress)
        assert not due.crossed(progress)


@given(sizes=sizes, schedule=schedules, cut=st.integers(0, 30))
def test_a_resumed_schedule_fires_as_an_unbroken_one(
    sizes: list[int], schedule: Any, cut: int
) -> None:
    path = walk(sizes)
    cut = min(cut, len(path))
    unbroken = Due(schedule)
    unbroken.start(Progress())
    expected = [p.steps_completed for p in path if unbroken.crossed(p)]

    first, second = Due(schedule), Due(schedule)
    first.start(Progress())
    fired = [p.steps_completed for p in path[:cut] if first.crossed(p)]
    second.start(path[cut - 1] if cut else Progress())
    fired += [p.steps_completed for p in path[cut:] if second.crossed(p)]
    assert fired == expected


@given(amount=st.integers(1, 6), steps=st.integers(1, 20), cut=st.integers(1, 20))
def test_last_fires_at_the_end_as_in_an_unbroken_run_wherever_it_was_resumed(
    amount: int, steps: int, cut: int
) -> None:
    path = walk([1] * steps)
    cut = min(cut, steps)
    due = Due(Every(steps=amount, last=True))
    due.start(path[cut - 1])
    for progress in path[cut:]:
        due.crossed(progress)

    assert due.at_end(path[-1]) is (steps % amount != 0)


@given(sizes=sizes, schedule=schedules)
def test_before_its_earliest_step_nothing_is_due(sizes: list[int], schedule: Any) -> None:
    due, path = Due(schedule), walk(sizes)
    due.start(Progress())
    look_at = due.earliest_step(Progress())
    asked: list[int] = []
    every_step = Due(schedule)
    every_step.start(Progress())
    expected = [p.steps_completed for p in path if every_step.crossed(p)]
    for progress in path:
        if progress.steps_completed >= look_at:
            if due.crossed(progress):
                asked.append(progress.steps_completed)
            look_at = due.earliest_step(progress)
    assert asked == expected


def test_a_second_run_knows_nothing_of_the_first() -> None:
    due = Due(Every(steps=4, last=True))
    due.start(Progress())
    assert due.crossed(Progress(steps_completed=4))
    due.start(Progress())

    assert not due.crossed(Progress(steps_completed=3))
    assert due.at_end(Progress(steps_completed=3))
    assert due.at_end(Progress(steps_completed=4))


def test_first_is_after_the_very_first_step_and_not_after_a_resume() -> None:
    due = Due(Every(steps=10, first=True))
    due.start(Progress())
    assert [p.steps_completed for p in walk([1] * 12) if due.crossed(p)] == [1, 10]
    due.start(Progress(steps_completed=3))
    assert [p.steps_completed for p in walk([1] * 12)[3:] if due.crossed(p)] == [10]


def test_asked_after_steps_and_after_epochs_the_two_halves_make_the_whole() -> None:
    schedule = Every(steps=2) | Every(epochs=1)
    by_steps, by_epochs = Due(schedule, STEP_UNITS), Due(schedule, {"epochs"})
    path = walk([1] * 6)

    assert [p.steps_completed for p in path if by_steps.crossed(p)] == [2, 4, 6]
    assert [p.steps_completed for p in path if by_epochs.crossed(p)] == [3, 6]


def test_a_due_without_a_schedule_never_fires() -> None:
    due = Due(None)

    assert not any(due.crossed(p) for p in walk([1] * 9))
    assert not due.at_end(Progress(steps_completed=9))
    assert due.earliest_step(Progress()) == math.inf


# --- how often ---------------------------------------------------------------------------------


@given(
    amount=st.integers(1, 9),
    unit=st.sampled_from(["steps", "epochs", "samples"]),
    epochs=st.integers(0, 5),
    epoch_steps=st.integers(1, 5),
    size=st.integers(1, 4),
    first=st.booleans(),
)
def test_how_often_it_fires_is_known_before(
    amount: int, unit: str, epochs: int, epoch_steps: int, size: int, first: bool
) -> None:
    # `first` of samples may fall on the first crossing; of steps and epochs only when amount is 1.
    options: dict[str, Any] = {unit: amount, "first": first and unit != "samples"}
    schedule = Every(**options)
    limit = RunLimit(epochs=epochs, epoch_steps=epoch_steps, epoch_samples=epoch_steps * size)
    due = Due(schedule)
    due.start(Progress())
    fired = sum(due.crossed(p) for p in walk([size] * (epochs * epoch_steps), epoch_steps))

    assert firings(schedule, limit) == fired


@pytest.mark.parametrize("text", ["10 minutes", "3 batches"])
def test_how_often_a_clock_fires_is_not_known(text: str) -> None:
    assert firings(text, RunLimit(steps=100, epoch_steps=10)) is None


# --- construction ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("100 steps", Every(steps=100)),
        ("every 100 steps", Every(steps=100)),
        ("50_000 samples", Every(samples=50_000)),
        ("epoch", Every(epochs=1)),
        ("1 epoch", Every(epochs=1)),
        ("3 updates", Every(steps=3)),
        ("2 batches", Every(batches=2)),
        ("10 minutes", Every(seconds=600)),
        ("1.5 hours", Every(seconds=5400)),
        ("0.5 seconds", Every(seconds=0.5)),
        ("1 day", Every(seconds=86400)),
        ("100 steps or 1 epoch", Every(steps=100) | Every(epochs=1)),
        ("100 steps | 10 minutes", Every(steps=100) | Every(seconds=600)),
    ],
)
def test_text_is_understood(text: str, schedule: Any) -> None:
    assert Every.parse(text) == schedule


@given(schedule=schedules)
def test_a_schedule_without_flags_is_the_same_after_text_and_back(schedule: Any) -> None:
    plain = [Every(**{part.unit: part.amount}) for part in schedule.parts]
    same = plain[0] if len(plain) == 1 else AnyOf(tuple(plain))

    assert Every.parse(str(same).replace(",", "")) == same


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(), "a schedule has exactly one unit"),
        (lambda: Every(steps=1, epochs=1), "a schedule has exactly one unit"),
        (lambda: Every(steps=0), "a schedule can't be every 0 steps"),
        (lambda: Every(steps=-3), "a schedule can't be every -3 steps"),
        (lambda: Every(steps=True), "a schedule can't be every True steps"),
        (lambda: Every(steps=1.5), "a schedule can't be every 1.5 steps"),  # type: ignore[arg-type]
        (lambda: Every(seconds=math.nan), "a schedule can't be every nan seconds"),
        (lambda: Every(seconds=math.inf), "a schedule can't be every inf seconds"),
        (lambda: Every.parse("often"), "'often' is not a schedule"),
        (lambda: Every.parse("3 stpes"), "'3 stpes' is not a schedule"),
        (lambda: Every.parse("-1 steps"), "'-1 steps' is not a schedule"),
        (lambda: Every.parse(""), "'' is not a schedule"),
        (lambda: Every.parse("1.5 steps"), "a schedule can't be every 1.5 steps"),
        (lambda: Every.parse(7), "7 is not a schedule"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_schedule_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        make()
    assert str(caught.value).splitlines()[0] == message


def test_the_nearest_unit_is_named() -> None:
    with pytest.raises(ScheduleError, match="did you mean `steps`"):
        Every.parse("100 setps")


def test_schedules_are_joined_with_a_bar() -> None:
    joined = Every(steps=1) | Every(epochs=2) | Every(samples=3)

    assert [set(part.units) for part in joined.parts] == [{"steps"}, {"epochs"}, {"samples"}]
    assert str(joined) == "1 step or 2 epochs or 3 samples"


@pytest.mark.parametrize(
    ("moment", "progress", "yes"),
    [
        ("2 epochs", Progress(epochs_completed=1), False),
        ("2 epochs", Progress(epochs_completed=2), True),
        ("10 steps or 1 epoch", Progress(steps_completed=12), True),
    ],
)
def test_a_moment_is_reached(moment: str, progress: Progress, yes: bool) -> None:
    assert reached(Every.parse(moment), progress) is yes
