"""When a checkpoint is due in a run whose trainer is another one."""

from __future__ import annotations

from time import monotonic

from trackside.errors import ScheduleError
from trackside.progress import Progress
from trackside.schedule import Due, Every, Schedule


class SaveClock:
    """Says whether a checkpoint is due, by the steps and epochs that a trainer has made.

    Args:
        every: When to save.

    Raises:
        ScheduleError: It counts what the trainer doesn't report.
    """

    def __init__(self, every: Schedule | str) -> None:
        schedule = Every.parse(every, option="every")
        if not schedule.units <= {"steps", "epochs", "seconds"}:
            raise ScheduleError(
                f"{str(schedule)!r} isn't known in a run whose trainer is another one",
                expected="a schedule in steps, epochs or seconds",
                option="every",
            )
        self._due = Due(schedule)
        self._progress = Progress()
        self._began = 0.0
        self._seen = 0

    def start(self, steps: int, epochs: int) -> None:
        """Begin to count from there: what was crossed before is not due again."""
        self._began, self._seen = monotonic(), steps
        self._progress = Progress()
        self._progress.steps_completed, self._progress.epochs_completed = steps, epochs
        self._due.start(self._progress)

    def is_due(self, steps: int, epochs: int) -> bool:
        """Whether a checkpoint is due now.

        Args:
            steps: Updates that are made. Where it is as at the last call, a step is under way.
            epochs: Passes over the data that are over.
        """
        if steps == self._seen:
            return False
        self._seen = steps
        progress = self._progress
        progress.steps_completed, progress.epochs_completed = steps, epochs
        progress.seconds = monotonic() - self._began
        return self._due.crossed(progress)
