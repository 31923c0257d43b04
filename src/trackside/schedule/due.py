"""Where a schedule stands, by the counters of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trackside.errors import ScheduleError
from trackside.progress import Progress, RunLimit
from trackside.schedule.every import AllOf, Every, Schedule
from trackside.schedule.grids import COUNTERS, Grid, grid


class Due:
    """Where a schedule stands: asked after each step or epoch, it says whether something is due.

    Args:
        schedule: When; None is never.
        units: Which parts to look at (all by default). Asked after steps with `STEP_UNITS` and
            after epochs with `{"epochs"}`, the two never fire for the same reason.
    """

    def __init__(self, schedule: str | Schedule | None, units: Iterable[str] = COUNTERS) -> None:
        units = frozenset(units)
        parts = () if schedule is None else Every.parse(schedule).parts
        self._parts = [part for part in parts if part.is_looked_at in units]
        self.last = any(part.last for part in parts)
        self._limit: RunLimit | None = None
        self._watches = None if self._shares else self._made()
        self._fired_at: int | None = None

    @property
    def _shares(self) -> bool:
        """Whether it can only be known from the length of the run."""
        singles = [one for part in self._parts for one in _periods(part)]
        singles += [moment for one in singles for moment in one.moments]
        return any(each.units & {"percent", "per_epoch"} for each in singles)

    def _made(self) -> list[_Watch]:
        return [_Watch(part, self._limit) for part in self._parts]

    def start(self, progress: Progress, limit: RunLimit | None = None) -> None:
        """Forget the past: what `progress` has already crossed is not due again.

        Args:
            progress: The counters of the run.
            limit: How far it goes, for schedules that are a share of it.

        Raises:
            ScheduleError: It is a share of the run, or of an epoch, whose length isn't known.
        """
        self._fired_at, self._limit = None, limit
        self._watches = self._made()
        for watch in self._watches:
            if watch.start(progress):
                self._fired_at = progress.steps_completed

    def crossed(self, progress: Progress) -> bool:
        """Whether a count was crossed since the last call (or since `start`)."""
        due = False
        for watch in self._begun():
            if watch.crossed(progress):
                due = True
        if due:
            self._fired_at = progress.steps_completed
        return due

    def earliest_step(self, progress: Progress) -> float:
        """The step before which it can't be due: what saves asking after every one."""
        return min((watch.earliest_step(progress) for watch in self._begun()), default=math.inf)

    def at_end(self, progress: Progress) -> bool:
        """Whether `last=True` asks for one more firing now that training ends."""
        return self.last and self._fired_at != progress.steps_completed

    def _begun(self) -> list[_Watch]:
        if self._watches is None:
            self._watches = self._made()  # raises: nobody has said how long the run is
        return self._watches


class _Watch:
    """Where one part stands: one period or point, or several periods that have to come all."""

    __slots__ = ("_counter", "_first", "_gates", "_grids", "_next", "_part", "_passed")

    def __init__(self, part: Every | AllOf, limit: RunLimit | None) -> None:
        self._part = part
        self._grids = [grid(one, limit) for one in _periods(part)]
        self._gates = [grid(moment, limit) for one in _periods(part) for moment in one.moments]
        self._counter = self._grids[0].counter if len(self._grids) == 1 else None
        self._next = self._grids[0].following(0)
        self._passed = 0
        self._first = part.first

    def start(self, progress: Progress) -> bool:
        """Stand at `progress`; returns whether it was due there."""
        counts = [(one, getattr(progress, one.counter)) for one in self._grids]
        self._next = counts[0][0].following(counts[0][1])
        self._passed = min(one.passed(count) for one, count in counts)
        self._first = self._part.first and all(count == 0 for _, count in counts)
        return any(one.is_on(progress) for one, _ in counts) and self._is_open(progress)

    def crossed(self, progress: Progress) -> bool:
        """Whether a point was crossed since the last call."""
        if self._counter is not None:
            count = getattr(progress, self._counter)
            if count < self._next and not self._first:
                if not count:
                    count_of(progress, self._counter, self._part)
                return False
            due = bool(count >= self._next)
            if due:
                self._next = self._grids[0].following(count)
        else:
            counts = [count_of(progress, one.counter, self._part) for one in self._grids]
            count = min(counts)
            passed = min(map(Grid.passed, self._grids, counts))
            due, self._passed = passed > self._passed, passed
        due = due and self._is_open(progress)
        if self._first and count > 0:
            self._first, due = False, True
        return due

    def earliest_step(self, progress: Progress) -> float:
        """The step before which it can't be due."""
        exact = self._counter == "steps_completed" and not self._first
        return self._next if exact else progress.steps_completed + 1

    def _is_open(self, progress: Progress) -> bool:
        return all(_is_passed(gate, progress, self._part) for gate in self._gates)


def reached(moment: Schedule, progress: Progress, limit: RunLimit | None = None) -> bool:
    """Whether `progress` has come as far as `moment`, read as a point and not as a period.

    `"2 epochs"` is reached when two epochs are completed, `"25 %"` after a quarter of the steps.

    Args:
        moment: The point; one of several joined by `or`, all of those joined by `and`.
        progress: The counters of a run.
        limit: How far the run goes, for moments that are a share of it.

    Raises:
        ScheduleError: It counts seconds: a resumed run, or another rank, would decide otherwise. Or
            it is a share of a run whose length isn't known, or counts tokens that no step says.
    """
    if "seconds" in moment.units or "per_epoch" in moment.units:
        raise ScheduleError(
            f"a moment can't be counted in {'seconds' if 'seconds' in moment.units else 'parts'}",
            expected="steps, batches, epochs, samples, tokens or a share of the run",
            received=str(moment),
        )
    return any(
        all(_is_passed(grid(one, limit), progress, moment) for one in _periods(part))
        for part in moment.parts
    )


def count_of(progress: Progress, counter: str, said: object) -> float:
    """How far a counter has come.

    Args:
        progress: The counters of a run.
        counter: Name of one of them.
        said: The schedule, or the option, that counts so.

    Raises:
        ScheduleError: It counts tokens, and the steps so far said none.
    """
    count: float = getattr(progress, counter)
    if not count and counter == "tokens_completed" and progress.steps_completed:
        raise ScheduleError(
            f"{str(said)!r} counts tokens, and no step says how many it has",
            expected="steps that return `Output(loss, ..., tokens=n)`",
            received=f"{progress.steps_completed} steps without",
            remedy="return `tokens` from `training_step`, or count samples or steps",
        )
    return count


def _is_passed(one: Grid, progress: Progress, said: object) -> bool:
    return bool(count_of(progress, one.counter, said) >= one.amount)


def _periods(part: Every | AllOf) -> tuple[Every, ...]:
    return part.of if isinstance(part, AllOf) else (part,)
