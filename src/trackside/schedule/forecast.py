"""When a schedule will be due in a run that hasn't begun, as far as that can be known."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trackside.errors import ScheduleError
from trackside.progress import RunLimit
from trackside.schedule.every import AllOf, Every, Schedule
from trackside.schedule.grids import Grid, grid


def is_unknown(schedule: str | Schedule, limit: RunLimit) -> ScheduleError | None:
    """Why nobody can say when `schedule` is due in a run of `limit`; None where that is known."""
    try:
        for part in Every.parse(schedule).parts:
            for one in _periods(part):
                grid(one, limit)
                for moment in one.moments:
                    grid(moment, limit)
    except ScheduleError as error:
        return error
    return None


def firings(schedule: str | Schedule, limit: RunLimit) -> int | None:
    """How often `schedule` fires in a run of `limit`; None when that can't be known before."""
    if is_unknown(schedule, limit) is not None:
        return None
    total = 0
    for part in Every.parse(schedule).parts:
        one = _firings(part, limit)
        if one is None:
            return None
        total += one
    return total


def due_steps(schedule: str | Schedule, limit: RunLimit, accumulate: int = 1) -> Iterator[int]:
    """The steps after which `schedule` is due, in order, as far as that is known before.

    It ends with the run, and before a part whose steps nobody knows. The end of the run is not
    among them where only `last` asks for it.

    Args:
        schedule: When.
        limit: How far the run goes.
        accumulate: Batches per step.
    """
    if is_unknown(schedule, limit) is not None:
        return
    parts, step = Every.parse(schedule).parts, 0
    end = math.inf if limit.total_steps is None else limit.total_steps
    while True:
        following = [_following(part, step, limit, accumulate) for part in parts]
        known = [one for one in following if one is not None]
        step = int(min(known)) if len(known) == len(following) and min(known) <= end else 0
        if not step:
            return
        yield step


def _following(part: Every | AllOf, step: int, limit: RunLimit, accumulate: int) -> float | None:
    """The first step after `step` at which a part is due; infinity: none; None: not known."""
    if part.first and step < (first := _first(part, limit)):
        return first
    opened = step
    for one in _periods(part):
        for moment in one.moments:
            reached = _reached_at(part, moment, limit, accumulate)
            if reached is None:
                return None
            opened = max(opened, int(reached) - 1)
    grids = [grid(one, limit) for one in _periods(part)]
    counts = [_count_at(one, opened, limit, accumulate) for one in grids]
    if None in counts:
        return None
    number = min(one.passed(count) for one, count in zip(grids, counts, strict=True))  # type: ignore[arg-type]
    steps = [_step_of(one, _point(one, number), limit, accumulate) for one in grids]
    known = [found for found in steps if found is not None]
    if len(known) < len(steps):
        return None
    if len(steps) > 1 and part.is_looked_at == "epochs" and limit.epoch_steps:
        return math.ceil(max(known) / limit.epoch_steps) * limit.epoch_steps
    return max(known)


def _first(part: Every | AllOf, limit: RunLimit) -> float:
    return limit.epoch_steps or math.inf if part.is_looked_at == "epochs" else 1


def _point(one: Grid, number: int) -> float:
    """The point after `number` points."""
    if one.once:
        return math.inf if number else float(one.amount)
    return math.ceil((number + 1) * one.amount)


def _reached_at(
    part: Every | AllOf, moment: Every, limit: RunLimit, accumulate: int = 1
) -> float | None:
    """The first step after which a part finds its moment reached; None where that isn't known."""
    gate = grid(moment, limit)
    step = _step_of(gate, math.ceil(gate.amount), limit, accumulate)
    # An epoch is counted when its last step has been looked at.
    late = gate.counter == "epochs_completed" and part.is_looked_at == "steps"
    return step + 1 if step is not None and late else step


def _count_at(one: Grid, step: int, limit: RunLimit, accumulate: int) -> float | None:
    """The count after `step` steps."""
    epoch = limit.epoch_steps
    if one.counter == "steps_completed":
        return step
    if one.counter == "batches_completed":
        return step * accumulate
    if one.counter == "epochs_completed" and epoch:
        return step // epoch
    if one.counter == "samples_completed" and epoch and limit.epoch_samples:
        return step * limit.epoch_samples / epoch
    return 0 if step == 0 and one.counter == "epochs_completed" else None


def _step_of(one: Grid, count: float, limit: RunLimit, accumulate: int) -> float | None:
    """The step after which `count` is reached; None where that isn't known."""
    if math.isinf(count):
        return count
    epoch = limit.epoch_steps
    if one.counter == "steps_completed":
        return math.ceil(one.amount) if one.once else count
    if one.counter == "batches_completed":
        return math.ceil(count / accumulate)
    if one.counter == "epochs_completed" and epoch:
        return count * epoch
    if one.counter == "samples_completed" and epoch and limit.epoch_samples:
        return math.ceil(count * epoch / limit.epoch_samples)
    return None


def _firings(part: Every | AllOf, limit: RunLimit) -> int | None:
    grids = [grid(one, limit) for one in _periods(part)]
    ends = [_end(one, limit) for one in grids]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return None
    opened = 0
    for moment in (moment for one in _periods(part) for moment in one.moments):
        reached = _reached_at(part, moment, limit)
        if reached is None:
            return None
        opened = max(opened, int(reached) - 1)
    if limit.total_steps is not None:
        opened = min(opened, limit.total_steps)
    before = [_count_at(one, opened, limit, 1) if opened else 0 for one in grids]
    held = [count for count in before if count is not None]
    if len(held) < len(before):
        return None
    count = min(one.passed(end) for one, end in zip(grids, known, strict=True))
    count -= min(one.passed(until) for one, until in zip(grids, held, strict=True))
    # Crossed twice within one step, it fires once.
    most = limit.total_steps - opened if limit.total_steps is not None else count
    amount, end = grids[0].amount, known[0]
    total = min(count, most)
    total += int(part.first and amount > 1 and end > 0)
    return total + int(part.last and (end != amount if grids[0].once else end % amount != 0))


def _end(one: Grid, limit: RunLimit) -> int | None:
    """The count at the end of a run; None where that can't be known before."""
    total = limit.total_steps
    if one.counter == "steps_completed":
        return total
    if total is not None and limit.epoch_steps:
        epochs = total / limit.epoch_steps
        if one.counter == "epochs_completed":
            return math.floor(epochs)
        if one.counter == "samples_completed" and limit.epoch_samples is not None:
            return math.floor(epochs * limit.epoch_samples)
    elif one.counter == "epochs_completed":
        return limit.epochs
    return None


def _periods(part: Every | AllOf) -> tuple[Every, ...]:
    return part.of if isinstance(part, AllOf) else (part,)
