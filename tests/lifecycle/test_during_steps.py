"""Schedules asked while a step is under way."""

from __future__ import annotations

import pytest

from trackside.errors import ScheduleError
from trackside.lifecycle.during_steps import DuringSteps
from trackside.progress import Progress
from trackside.schedule import Every


def due_steps(steps: DuringSteps) -> list[int]:
    return [n + 1 for n in range(10) if steps.due(Progress(steps_completed=n))]


def test_the_step_under_way_counts_as_the_next() -> None:
    assert due_steps(DuringSteps("4 steps")) == [4, 8]
    assert due_steps(DuringSteps(Every(steps=4, first=True))) == [1, 4, 8]


@pytest.mark.parametrize(
    "schedule", ["1 epoch", "10 seconds", "4 steps or 1 epoch", Every(steps=2, last=True)]
)
def test_what_can_not_be_told_during_a_step_is_refused(schedule: str | Every) -> None:
    with pytest.raises(ScheduleError, match="while a step is under way"):
        DuringSteps(schedule)
