"""`StableDecayCheckpoints`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.errors import ConfigurationError, ScheduleError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.roles import HasSchedulers
from trackside.run import Rollback, Run
from trackside.schedule import Every, Schedule, count_of, is_plain

_COUNTERS = {
    "steps": "steps_completed",
    "batches": "batches_completed",
    "samples": "samples_completed",
    "epochs": "epochs_completed",
    "tokens": "tokens_completed",
}


@final
class StableDecayCheckpoints(Callback):
    """Keeps a checkpoint from right before the decay of the learning rate, and one after it.

    For schedules that warm up, stay and decay: from the first of the two, training can go on with a
    longer stable phase, or decay on other data; the second is the model to use. `Checkpoint` writes
    them and never deletes them, whatever else it keeps. All updates up to the first had the full
    rate, also on several ranks: nobody has to be waited for.

    Where the decay begins and ends is read off the scheduler `warmup_stable_decay`, or said here. A
    run that ends within the decay keeps its end as the second.

    Args:
        decay_start: Where the decay begins, such as `"8_500 steps"`; None asks the scheduler.
        decay_end: Where it ends; None asks the scheduler, or takes the end of training where
            `decay_start` is given.

    Raises:
        ScheduleError: Seconds, or a moment in several units.
        ConfigurationError: `decay_end` alone, or not after `decay_start`; when training starts:
            there is no scheduler that tells.
        UsageError: When training starts: no `Checkpoint` saves.

    Example:
        >>> StableDecayCheckpoints()
        >>> StableDecayCheckpoints("8_500 steps", "10_000 steps")
    """

    effect = "steers"
    runs_after = ("lr_scheduler",)
    runs_before = ("checkpoint",)

    def __init__(
        self,
        decay_start: Schedule | str | None = None,
        decay_end: Schedule | str | None = None,
    ) -> None:
        self.decay_start = None if decay_start is None else _moment(decay_start, "decay_start")
        self.decay_end = None if decay_end is None else _moment(decay_end, "decay_end")
        start, end = self.decay_start, self.decay_end
        if end is not None and (
            start is None or start.unit != end.unit or not start.amount < end.amount
        ):
            raise ConfigurationError(
                "a decay begins, and then it ends",
                expected="decay_start before decay_end, both in the same unit",
                received=f"decay_start={start}, decay_end={end}",
                option="decay_end",
            )
        self._decay = _Decay(None, 0, None)
        self._looked_at = 0

    def on_fit_start(self, run: Run) -> None:
        if not isinstance(run.saver, Checkpoint):
            raise UsageError(
                "`StableDecayCheckpoints` keeps checkpoints, and nothing saves any",
                remedy="add the callback `Checkpoint(every=None)`",
            )
        self._decay = self._found(run)
        self._looked_at = self._decay.position(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._looked_at = self._decay.position(run)

    def on_step_end(self, run: Run) -> None:
        self._look(run)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self._look(run)

    def on_fit_end(self, run: Run) -> None:
        position, end = self._decay.position(run), self._decay.end
        if self._decay.start < position and (end is None or position < end) and not run.interrupted:
            _keep(run, "the end of training, within the decay")

    def _look(self, run: Run) -> None:
        before, now = self._looked_at, self._decay.position(run)
        self._looked_at = now
        if before < self._decay.start <= now:
            _keep(run, "before the decay of the learning rate")
        if self._decay.end is not None and before < self._decay.end <= now:
            _keep(run, "after the decay of the learning rate")

    def _found(self, run: Run) -> _Decay:
        if self.decay_start is not None:
            end = None if self.decay_end is None else int(self.decay_end.amount)
            return _Decay(None, int(self.decay_start.amount), end, _COUNTERS[self.decay_start.unit])
        for scheduler in schedulers(run):
            phases = getattr(scheduler, "phases", None)
            if phases is not None:
                return _Decay(scheduler, phases.decay_start, phases.decay_end)
        raise ConfigurationError(
            "`StableDecayCheckpoints` finds no schedule that says where the decay begins",
            expected="the scheduler `warmup_stable_decay`, or decay_start='8_500 steps'",
        )


class _Decay:
    """Where a decay begins and ends, and how far a run has come.

    Args:
        scheduler: Counts its own moves; None counts what the run has done.
        start: Count at which it begins.
        end: Count at which it is over; None is the end of training.
        counter: Name of what is counted in `run.progress`.
    """

    def __init__(
        self, scheduler: Any, start: int, end: int | None, counter: str = "steps_completed"
    ) -> None:
        self.start = start
        self.end = end
        self._scheduler = scheduler
        self._counter = counter

    def position(self, run: Run) -> int:
        """The count now."""
        if self._scheduler is not None:
            return int(self._scheduler.last_epoch)
        return int(count_of(run.progress, self._counter, "decay_start"))


def schedulers(run: Run) -> Iterator[Any]:
    """The schedulers of the trainer, and of callbacks that have any."""
    yield from run.schedulers.values()
    for callback in run.callbacks:
        if isinstance(callback, HasSchedulers):
            yield from (one.scheduler for one in callback.schedulings.values())


def _keep(run: Run, why: str) -> None:
    assert isinstance(run.saver, Checkpoint), "seen when training started"
    run.saver.pin(run)
    run.save(why, all_ranks=True)


def _moment(text: Schedule | str, option: str) -> Every:
    moment = Every.parse(text, option)
    if not isinstance(moment, Every) or not is_plain(moment) or moment.unit not in _COUNTERS:
        raise ScheduleError(
            "a decay begins and ends at one count",
            expected="steps, epochs, samples, tokens or batches",
            received=str(text),
            option=option,
        )
    return moment
