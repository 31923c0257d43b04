"""Schedules that are asked while a step is under way, when its gradients are there."""

from __future__ import annotations

from typing import final

from trackside.errors import ScheduleError
from trackside.progress import Progress
from trackside.schedule import Every, Schedule, is_plain


@final
class DuringSteps:
    """Whether the step under way is one of those that a schedule means.

    It follows from the number of the step alone, so that a resumed run decides as an unbroken one.

    Args:
        every: Counts steps, such as `"100 steps"`; with `first=True` the very first one as well.

    Raises:
        ScheduleError: It counts something else, or asks for the last step, which can't be known.
    """

    def __init__(self, every: Schedule | str) -> None:
        schedule = Every.parse(every, option="every")
        plain = isinstance(schedule, Every) and is_plain(schedule)
        if not isinstance(schedule, Every) or not plain or not schedule.steps or schedule.last:
            raise ScheduleError(
                f"{str(schedule)!r} isn't known while a step is under way",
                expected="a schedule in steps, such as '100 steps'",
                option="every",
            )
        self.every = schedule
        self.steps = schedule.steps
        self.first = schedule.first

    def due(self, progress: Progress) -> bool:
        """Whether the step that follows those completed is one of them."""
        number = progress.steps_completed + 1
        return number % self.steps == 0 or (self.first and number == 1)
