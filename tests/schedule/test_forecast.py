"""What is known of a schedule before a run is what the schedule then does."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.errors import ScheduleError
from trackside.progress import Progress, RunLimit
from trackside.schedule import STEP_UNITS, Due, Every, due_steps, firings, is_unknown

SIZE = 3


def walk(steps: int, epoch_steps: int) -> list[Progress]:
    """Progress after each step of one batch with as many tokens as its number."""
    return [
        Progress(
            steps_completed=n,
            batches_completed=n,
            samples_completed=n * SIZE,
            epochs_completed=n // epoch_steps,
            epochs_closed=n // epoch_steps,
            seconds=n * 1.5,
            tokens_completed=n * (n + 1) // 2,
        )
        for n in range(1, steps + 1)
    ]


def fired(schedule: Any, path: list[Progress], limit: RunLimit, *, cut: int = 0) -> list[int]:
    """The steps at which a schedule fires, resumed at `cut`; asked after steps and after epochs."""
    after_steps, after_epochs = Due(schedule, STEP_UNITS), Due(schedule, {"epochs"})
    for due in (after_steps, after_epochs):
        due.start(path[cut - 1] if cut else Progress(), limit)
    steps = []
    for progress in path[cut:]:
        # An epoch is counted when its last step has been looked at.
        counted = (progress.steps_completed - 1) // (limit.epoch_steps or 1)
        halves = [after_steps.crossed(replace(progress, epochs_completed=counted))]
        if progress.steps_completed % (limit.epoch_steps or 1) == 0:
            halves.append(after_epochs.crossed(progress))
        steps += [progress.steps_completed] if any(halves) else []
    return steps


moments = st.builds("{} {}".format, st.integers(1, 8), st.sampled_from(["steps", "epochs", "%"]))


@st.composite
def periods(draw: st.DrawFn) -> Every:
    unit = draw(st.sampled_from(["steps", "epochs", "samples", "percent", "per_epoch"]))
    options: dict[str, Any] = {unit: draw(st.integers(1, 9))}
    options["after"] = draw(st.none() | moments)
    return Every(**options)


points = st.lists(moments, min_size=1, max_size=3).map(lambda at: Every(at=at))
joined = st.lists(periods(), min_size=2, max_size=3).map(lambda p: p[0] & p[1])
schedules = periods() | points | joined | st.tuples(periods(), points).map(lambda p: p[0] | p[1])


@given(schedule=schedules, epochs=st.integers(0, 4), epoch_steps=st.integers(1, 6))
def test_the_steps_of_a_schedule_are_known_before(
    schedule: Any, epochs: int, epoch_steps: int
) -> None:
    limit = RunLimit(epochs=epochs, epoch_steps=epoch_steps, epoch_samples=epoch_steps * SIZE)
    path = walk(epochs * epoch_steps, epoch_steps)

    assert list(islice(due_steps(schedule, limit), 1000)) == fired(schedule, path, limit)


@given(schedule=periods(), epochs=st.integers(0, 4), epoch_steps=st.integers(1, 6))
def test_how_often_it_fires_is_known_before(schedule: Every, epochs: int, epoch_steps: int) -> None:
    limit = RunLimit(epochs=epochs, epoch_steps=epoch_steps, epoch_samples=epoch_steps * SIZE)
    path = walk(epochs * epoch_steps, epoch_steps)

    assert firings(schedule, limit) == len(fired(schedule, path, limit))


@given(schedule=schedules, cut=st.integers(0, 12), last=st.booleans(), first=st.booleans())
def test_a_resumed_schedule_fires_as_an_unbroken_one(
    schedule: Any, cut: int, last: bool, first: bool
) -> None:
    limit, path = RunLimit(epochs=3, epoch_steps=4), walk(12, 4)
    with_words = schedule | Every(tokens=7, first=first, last=last) | Every(seconds=4)

    expected = [step for step in fired(with_words, path, limit) if step > cut]
    assert fired(with_words, path, limit, cut=cut) == expected


@given(schedule=schedules, tokens=st.integers(1, 9))
def test_before_its_earliest_step_nothing_is_due(schedule: Any, tokens: int) -> None:
    limit, path = RunLimit(epochs=3, epoch_steps=4), walk(12, 4)
    due = Due(schedule | Every(tokens=tokens), STEP_UNITS)
    due.start(Progress(), limit)
    look_at, seen = due.earliest_step(Progress()), []
    for progress in path:
        if progress.steps_completed >= look_at:
            seen += [progress.steps_completed] if due.crossed(progress) else []
            look_at = due.earliest_step(progress)
    whole = Due(schedule | Every(tokens=tokens), STEP_UNITS)
    whole.start(Progress(), limit)
    assert seen == [p.steps_completed for p in path if whole.crossed(p)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("25 %", [25, 50, 75, 100]),
        ("4 per epoch", [13, 25, 38, 50, 63, 75, 88, 100]),
        ("at 10 steps, 30 %, 2 epochs", [10, 30, 100]),
        ("20 steps after 1 epoch", [60, 80, 100]),
        ("20 steps and 100 samples", [34, 67, 100]),
        ("60 steps and 1 epoch", [100]),
        ("40 steps or first", [1, 40, 80]),
    ],
)
def test_a_run_of_two_epochs_of_fifty_steps(text: str, steps: list[int]) -> None:
    limit = RunLimit(epochs=2, epoch_steps=50, epoch_samples=50 * SIZE)

    assert fired(text, walk(100, 50), limit) == steps
    assert list(due_steps(text, limit)) == steps


@pytest.mark.parametrize("text", ["25 %", "4 per epoch", "at 25 %", "1 step after 5 %"])
def test_a_share_of_what_nobody_knows_the_length_of_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="whose length in steps isn't known"):
        Due(text).start(Progress(), RunLimit(epochs=3))
    with pytest.raises(ScheduleError, match="whose length in steps isn't known"):
        Due(text).crossed(Progress(steps_completed=1))
    assert is_unknown(text, RunLimit(epochs=3)) is not None
    assert firings(text, RunLimit(epochs=3)) is None


@pytest.mark.parametrize("text", ["100 tokens", "100 tokens and 1 step"])
def test_tokens_that_no_step_tells_are_refused_after_the_first_step(text: str) -> None:
    due = Due(text)
    due.start(Progress())
    assert not due.crossed(Progress())

    with pytest.raises(ScheduleError, match="no step says how many it has"):
        due.crossed(Progress(steps_completed=1))


def test_a_prolonged_run_counts_shares_of_its_new_length() -> None:
    due = Due("50 %")
    due.start(Progress(steps_completed=10), RunLimit(steps=40))

    assert due.earliest_step(Progress(steps_completed=10)) == 20
