"""Trials are taken from the store and trained, until all that were asked for have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trackside.callbacks.stopping.optuna_pruning import OptunaPruning
from trackside.checkpoint.selection import candidates
from trackside.distributed.failure import PeerFailed
from trackside.errors import TracksideError, printable
from trackside.outcome import Status
from trackside.remote.bringing import Bringer
from trackside.search.ranks import RankError, Ranks
from trackside.search.space import Value
from trackside.search.store import Store
from trackside.search.sweep import Sweep, line

if TYPE_CHECKING:
    from trackside.trainer.settings import Result

SILENT = ("result", "progress", "summary", "data", "table")
"""Default callbacks that print: a sweep has a line for each trial instead."""
FAILURES_IN_A_ROW = 3
"""Trials of one process that may end in an error, one after another, before the sweep does."""
LIVES_WITHOUT_PROGRESS = 5
"""Processes in a row that may be killed in a trial, without a new checkpoint, before it fails."""
_POLL_SECONDS = 0.5


def work(sweep: Sweep, say: Callable[[str], None]) -> None:
    """Train trials until all have ended, here or in other processes; `say` a line of each.

    On several ranks, rank 0 takes the trials and says the lines; all ranks train each of them.

    Raises:
        KeyboardInterrupt, SystemExit: A signal ended it; the trial under way is saved, and goes on
            the next time.
        PeerFailed: The process of another rank has ended; the same.
        Exception: That of a trial, after several failed one after another.
    """
    worker, failures = Worker(sweep), 0
    while (taken := worker.next()) is not None:
        error = worker.train(*taken)
        worker.tell(taken[0], say)
        failures = failures + 1 if error is not None else 0
        if error is not None and failures == FAILURES_IN_A_ROW:
            raise error


class Worker:
    """A process of a sweep, or one of the ranks that are a worker together."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.ranks = Ranks()
        self.store = sweep.store() if self.ranks.is_first else None
        self._trial: Any = None
        """The trial under way, of Optuna; None on ranks other than 0."""

    def next(self) -> tuple[int, dict[str, Value]] | None:
        """The trial to train now, on all ranks the same; None where all have ended."""
        while True:
            state, number, values = self.ranks.from_first(self._take)
            if state != "wait":
                return None if state == "over" else (number, values)
            time.sleep(_POLL_SECONDS)  # others train the rest; one of them may be killed

    def _take(self) -> tuple[str, int, dict[str, Value]]:
        store = self._store
        if store.is_over(self.sweep.trials):
            return "over", -1, {}
        taken = store.take(self.sweep.trials)
        if taken is None:
            return "wait", -1, {}
        self._trial, values = taken
        return "train", int(self._trial.number), values

    def train(self, number: int, values: dict[str, Value]) -> Exception | None:
        """Train a trial from where it stands, and keep how it ended; the error that ended it."""
        try:
            self.ranks.from_first(lambda: self._begin(number))
            fit = self.ranks.together(lambda: self._prepared(number, values))
            result = self.ranks.together(fit)
        except (KeyboardInterrupt, SystemExit):
            if self.ranks.is_first:
                self._store.leave(self._trial, in_order=True)
            raise
        except PeerFailed:  # a rank is gone, which is not the trial's doing
            raise
        except Exception as error:
            why = str(error) if isinstance(error, RankError) else f"{type(error).__name__}: {error}"
            self.ranks.from_first(lambda: self._store.record(self._trial, None, why))
            return error
        missing = self.ranks.from_first(lambda: self._record(result))
        return None if missing is None else TracksideError(missing, option="monitor")

    def _begin(self, number: int) -> None:
        """Refuse a trial that kills each process that trains it."""
        folders = {one.parent for one in self.sweep.place(number).rglob("step-*")}
        step = max((one.step for folder in folders for one in candidates(folder)), default=0)
        if self._store.begin(self._trial, step) > LIVES_WITHOUT_PROGRESS:
            raise TracksideError(
                f"{LIVES_WITHOUT_PROGRESS} processes that trained it ended without a word, each "
                f"before it saved a step after {step}: killed (out of memory?), or crashed"
            )

    def _prepared(self, number: int, values: dict[str, Value]) -> Callable[[], Result]:
        """The training of a trial, with its data; the model is made when it is called."""
        sweep = self.sweep
        experiment = sweep.experiment(values)
        trainer = experiment.trainer(sweep.place(number))
        for name in SILENT:
            if name in trainer.callbacks:
                del trainer.callbacks[name]
        for callback in trainer.callbacks:
            if isinstance(callback, Bringer) and callback.to is not None:
                callback.to = f"{callback.to}/trial-{number:04d}"  # each is a run
        if sweep.prune:
            trainer.callbacks.append(OptunaPruning(self._trial, sweep.monitor))
        data = experiment.make_data(["train", *experiment.validation()])
        arguments = {**experiment.fit_arguments(data), "resume": "auto"}
        return lambda: trainer.fit(**arguments)

    def _record(self, result: Result) -> str | None:
        """Keep how a trial ended; the words for a metric that it doesn't have."""
        sweep, outcome = self.sweep, result.outcome
        if outcome.status is Status.DIVERGED:
            self._store.record(self._trial, None, str(outcome))
            return None
        best = result.history.best(sweep.monitor, sweep.mode)
        why = str(outcome) if best is not None else f"no {sweep.monitor} was recorded; {outcome}"
        pruned = sweep.prune and OptunaPruning.pruned(outcome)
        value = None if best is None else best.value
        self._store.record(self._trial, value, why, pruned=pruned)
        return None if best is not None else why

    def tell(self, number: int, say: Callable[[str], None]) -> None:
        """Say the line of a trial that has ended, on rank 0."""
        if self.ranks.is_first:
            say(printable(line(self._store.trials(), number, self.sweep)))

    @property
    def _store(self) -> Store:
        assert self.store is not None, "rank 0 has it"
        return self.store
