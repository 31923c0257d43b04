"""Retracing: a run is made again from a checkpoint up to one step, and nothing is left of it.

The trainer trains as it did, with the callbacks that may have a say in it; nobody saves, tracks or
notifies. Callbacks of interest join right before the step, and leave right after it.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trackside.errors import UsageError
from trackside.history import Record
from trackside.lifecycle.adoption import adopt
from trackside.lifecycle.collection import name_for
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.loop import fit as loops
from trackside.loop.state import TRAIN, Training
from trackside.machine import randomness
from trackside.outcome import Outcome, Status
from trackside.progress import EndedEpoch, TrainingBatch
from trackside.proof.made_again import MadeAgain, Way
from trackside.proof.taking_part import only_those_with_a_say
from trackside.run import Run
from trackside.schedule import Every

LOSSES = {"train/loss", "train_recent/loss"}
"""Means of the training loss: over an epoch, and since the record before."""


_ARGUMENT = "`epochs=40`, an argument of the function that made it"


@dataclass(slots=True)
class Retraced:
    """Report of a retrace."""

    left_out: tuple[str, ...] = ()
    """Names of callbacks that took no part."""
    records: list[Record] = field(default_factory=list)
    """Records made on the way, and after the step until training was left."""
    last_step: int = 0
    """Steps completed when it was left."""
    error: Exception | None = None
    """The error that the step of interest ended with."""


def retrace(
    made: MadeAgain,
    way: Way,
    *,
    joining: Sequence[Callback[Any]] = (),
    along: Sequence[Callback[Any]] = (),
    until: int | None = None,
    further: int = 0,
    leave_out: Iterable[TrainingBatch] = (),
    arrived: Callable[[Run], None] | None = None,
    without: Iterable[str] = (),
    directory: Path | None = None,
) -> Retraced:
    """Train from the beginning of a way to its step, and write nothing.

    The generators of this process stand afterwards where they stood before. The trainer is used up:
    make another one for another retrace.

    Args:
        made: The run, made again.
        way: From where to which step.
        joining: Callbacks that hear that step alone; schedules of theirs are due in it.
        along: Callbacks that hear the whole way.
        until: The step up to whose record training goes on afterwards; None leaves right after the
            step.
        further: Without `until`: steps to train after the step of interest.
        leave_out: Batches, or samples of them, that are not trained on.
        arrived: Called after the step, with everything as the step left it.
        without: Names of callbacks that take no part.
        directory: The folder that callbacks see as the run's; None: one that is then removed.

    Raises:
        UsageError: The run ends before that step.
        Exception: What a step before it ended with. An error in the step itself is reported.
    """
    done = Retraced()
    out = (*way.leave_out, *leave_out)
    last = way.step + further if until is None else None
    guide = _Guide(way.step, until, last, joining, arrived, out, done)
    guide.ended_epochs = {one.step: one for one in way.ended_epochs}
    with _folder(directory) as folder, quietly():
        trainer = made.trainer
        done.left_out = only_those_with_a_say(trainer.callbacks, folder, without)
        for callback in (*along, guide):
            trainer.callbacks.append(callback)
        trainer.settings = replace(trainer.settings, directory=folder, on_resume_differs=None)
        trainer.train_loop = _until_arrival
        arguments = {**made.arguments, "resume": way.checkpoint, "rehearse": False}
        try:
            result = trainer.fit(**arguments)
        except Exception as error:
            if not guide.is_at_the_step:
                raise
            done.error = error
            return done
    if not guide.has_arrived:
        raise UsageError(
            f"the run, made again, ends at step {result.outcome.step} ({result.outcome.reason})",
            expected=f"a run of {way.step} steps or more",
            remedy="give what the run was given later, such as "
            + ("`trainer.epochs=40`" if trainer.made_by is None else _ARGUMENT),
        )
    return done


class _Arrived(BaseException):
    """Leaves the loop; no `Exception`, so that no policy for errors sees it."""


def _until_arrival(training: Training) -> Outcome:
    try:
        return loops.fit(training)
    except _Arrived:
        step = training.run.progress.steps_completed
        return Outcome(Status.COMPLETED, "retraced", step=step)


class _Guide(Callback[Run]):
    """Knows when the step comes: lets callbacks join before it."""

    def __init__(
        self,
        step: int,
        until: int | None,
        last: int | None,
        joining: Sequence[Callback[Any]],
        arrived: Callable[[Run], None] | None,
        leave_out: Iterable[TrainingBatch],
        done: Retraced,
    ) -> None:
        self.step = step
        self.until = until
        self.last = last
        self.joining = joining
        self.arrived = arrived
        self.leave_out = tuple(leave_out)
        self.done = done
        self.joined: dict[str, Callback[Any]] = {}
        self.is_at_the_step = self.has_arrived = False
        self.ended_epochs: dict[int, EndedEpoch] = {}
        """Epochs that the run ended on request, by steps completed: whoever asked may be absent."""

    def on_fit_start(self, run: Run) -> None:
        """Let batches be identified from the first pass on."""
        run.data[TRAIN].remember()
        run.data[TRAIN].leave_out(self.leave_out)
        if run.progress.steps_completed == self.step - 1:
            self.join(run)

    def on_step_end(self, run: Run) -> None:
        """Before the step of interest: let them join."""
        if (ended := self.ended_epochs.get(run.progress.steps_completed)) is not None:
            run.end_epoch(ended.reason, asked_by=ended.asked_by)
        if run.progress.steps_completed == self.step - 1:
            self.join(run)
        elif self.has_arrived and self.is_far_enough(run.progress.steps_completed):
            self.leave(run)

    def is_far_enough(self, step: int) -> bool:
        """Whether nothing is wanted of the steps after this one."""
        if self.last is not None:
            return step >= self.last
        return self.until is not None and step > self.until

    def on_log(self, run: Run, record: Record) -> None:
        """Keep the record; after the last that is wanted, leave."""
        self.done.records.append(record)
        if self.until is None or not self.has_arrived or LOSSES.isdisjoint(record.values):
            return
        if record.step >= self.until:
            self.leave(run)

    def join(self, run: Run) -> None:
        """Add those who hear the step, and one who hears of its end after them."""
        self.is_at_the_step = True
        for given in self.joining:
            if isinstance(given, PeriodicCallback) and given.every is not None:
                given.every = Every(steps=1)
            callback = adopt(given)
            name = name_for(callback)
            while name in run.callbacks:
                name += "_joined"
            run.callbacks.append(callback, name)
            run.callbacks[name].on_fit_start(run)
            self.joined[name] = run.callbacks[name]
        run.callbacks.append(_Last(self))

    def over(self, run: Run) -> None:
        """The step is over, and all have heard of it."""
        self.is_at_the_step, self.has_arrived = False, True
        if self.arrived is not None:
            self.arrived(run)
        for name, callback in self.joined.items():
            callback.on_fit_end(run)
            del run.callbacks[name]
        if self.last == self.step:
            self.leave(run)

    def leave(self, run: Run) -> None:
        """Leave the loop at once."""
        self.done.last_step = run.progress.steps_completed
        raise _Arrived


class _Last(Callback[Run]):
    """Comes after all others."""

    def __init__(self, guide: _Guide) -> None:
        self.guide = guide

    def on_step_end(self, run: Run) -> None:
        """Say that the step is over, once."""
        if run.progress.steps_completed == self.guide.step:
            self.guide.over(run)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="trackside-retrace-") as folder:
        yield Path(folder) / "run"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Restore random generators; what a run says of itself was said when it was recorded."""
    logger = logging.getLogger("trackside")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with randomness.preserved(), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
