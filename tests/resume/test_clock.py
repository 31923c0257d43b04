"""When a checkpoint is due, by what another trainer counts."""

from __future__ import annotations

from trackside.resume.clock import SaveClock


def test_it_is_due_once_at_each_multiple_of_its_steps() -> None:
    clock = SaveClock("3 steps")
    clock.start(0, 0)

    due = [step for step in (1, 1, 2, 3, 3, 4, 5, 6) if clock.is_due(step, 0)]

    assert due == [3, 6]


def test_what_was_crossed_before_a_resume_is_not_due_again() -> None:
    clock = SaveClock("3 steps")
    clock.start(4, 0)

    assert [step for step in (5, 6) if clock.is_due(step, 0)] == [6]


def test_it_can_count_epochs() -> None:
    clock = SaveClock("1 epoch")
    clock.start(0, 0)

    assert [clock.is_due(*place) for place in ((1, 0), (2, 1), (3, 1))] == [False, True, False]
