"""A sweep: takes trials from the store and trains them, in one process or several."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackside.callbacks.stopping.optuna_pruning import OptunaPruning
from trackside.config.experiment.loading import load
from trackside.errors import ConfigurationError, TracksideError, printable
from trackside.history import check_mode
from trackside.outcome import Status
from trackside.search.space import Dimension, Value, override, space_of
from trackside.search.store import Store, Trial
from trackside.vocabulary.directions import Mode, direction

if TYPE_CHECKING:
    from trackside.config.experiment.experiment import Experiment

SILENT = ("result", "progress", "summary", "data", "table")
"""Default callbacks that print: a sweep has a line for each trial instead."""
FAILURES_IN_A_ROW = 3
"""Trials of one process that may end in an error, one after another, before the sweep does."""
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Sweep:
    """A search as it was asked for."""

    files: tuple[str, ...]
    overrides: tuple[str, ...]
    folder: Path
    trials: int
    monitor: str
    mode: Mode
    space: tuple[Dimension, ...]
    seed: int = 0
    prune: bool = False

    def store(self) -> Store:
        """Its trials."""
        asked = (self.folder, list(self.space), self.monitor, self.mode)
        return Store(*asked, seed=self.seed, prune=self.prune)

    def experiment(self, values: dict[str, Value]) -> Experiment:
        """The experiment with values for what is varied, checked."""
        chosen = [override(key, value) for key, value in values.items()]
        return load(list(self.files), [*self.overrides, *chosen])


def plan(
    files: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    trials: int,
    *,
    monitor: str = "val/loss",
    mode: str | None = None,
    seed: int = 0,
    prune: bool = False,
) -> Sweep:
    """A sweep whose configuration has been checked at the first value of each option.

    Raises:
        ConfigurationError: Nothing is varied, or which way the metric is better isn't known.
        ExperimentError: The configuration is wrong.
    """
    from trackside.config.text.layers import read  # noqa: PLC0415 - one import less for workers
    from trackside.config.text.problem import Findings  # noqa: PLC0415

    findings = Findings()
    space = space_of(read(files, overrides, findings).written)
    findings.stop_if_any()
    better = direction(monitor) if mode is None else check_mode(mode)
    if better is None:
        raise ConfigurationError(
            f"whether more or less of {monitor} is better doesn't show in its name",
            remedy="say it: --mode min, or --mode max",
            option="mode",
        )
    whole = (tuple(files), tuple(overrides), folder, trials, monitor, better, tuple(space))
    sweep = Sweep(*whole, seed=seed, prune=prune)
    sweep.experiment({one.key: one.values[0] for one in space})
    return sweep


def work(sweep: Sweep, say: Callable[[str], None]) -> None:
    """Train trials until all have ended, here or in other processes; `say` a line of each.

    Raises:
        KeyboardInterrupt, SystemExit: A signal ended it; the trial under way is saved, and goes on
            the next time.
        Exception: That of a trial, after several failed one after another.
    """
    store, failures = sweep.store(), 0
    while not store.is_over(sweep.trials):
        taken = store.take(sweep.trials)
        if taken is None:  # others train the rest; one of them may be killed
            time.sleep(_POLL_SECONDS)
            continue
        error = _train(sweep, store, *taken)
        say(printable(line(store.trials(), taken[0].number, sweep)))
        failures = failures + 1 if error is not None else 0
        if error is not None and failures == FAILURES_IN_A_ROW:
            raise error


def _train(sweep: Sweep, store: Store, trial: Any, values: dict[str, Value]) -> Exception | None:
    """Train a trial from where it stands, and keep how it ended; the error that ended it."""
    try:
        experiment = sweep.experiment(values)
        trainer = experiment.trainer(store.place(trial.number))
        for name in SILENT:
            if name in trainer.callbacks:
                del trainer.callbacks[name]
        if sweep.prune:
            trainer.callbacks.append(OptunaPruning(trial, sweep.monitor))
        data = experiment.make_data(["train", *experiment.validation()])
        result = trainer.fit(**{**experiment.fit_arguments(data), "resume": "auto"})
    except Exception as error:
        store.record(trial, None, f"{type(error).__name__}: {error}")
        return error
    outcome = result.outcome
    if outcome.status is Status.DIVERGED:
        store.record(trial, None, str(outcome))
        return None
    best = result.history.best(sweep.monitor, sweep.mode)
    why = str(outcome) if best is not None else f"no {sweep.monitor} was recorded; {outcome}"
    pruned = sweep.prune and OptunaPruning.pruned(outcome)
    store.record(trial, None if best is None else best.value, why, pruned=pruned)
    return None if best is not None else TracksideError(why, option="monitor")


def work_in_processes(sweep: Sweep, processes: int, say: Callable[[str], None]) -> None:
    """The same in several processes; they end in order when this one dies.

    Args:
        sweep: What to do.
        processes: How many.
        say: A function of a module: it is called in the processes.

    Raises:
        TracksideError: One ended in an error.
        KeyboardInterrupt: Ctrl-C; each has saved its trial.
    """
    sweep.store()  # made once, before several look for it
    context = get_context("spawn")
    workers = [
        context.Process(target=_work_below, args=(sweep, processes, say), name=f"sweep {number}")
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGTERM)
        for worker in workers:
            worker.join()
        raise
    ended = sorted({f"{one.name}: exit code {one.exitcode}" for one in workers if one.exitcode})
    if ended and not sweep.store().is_over(sweep.trials):
        raise TracksideError(
            "processes of the sweep ended before its trials",
            received=", ".join(ended),
            remedy="the same command goes on with the trials that are left",
        )


def _work_below(sweep: Sweep, processes: int, say: Callable[[str], None]) -> None:
    import torch  # noqa: PLC0415 - in the child

    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    try:
        work(sweep, say)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)  # the trial under way is saved


def line(trials: Sequence[Trial], number: int, sweep: Sweep) -> str:
    """A line about a trial that has ended."""
    trial = next(one for one in trials if one.number == number)
    over = sum(one.state != "unfinished" for one in trials)
    value = "" if trial.value is None else f"  {sweep.monitor} {trial.value:.4g}"
    best = ranked(trials, sweep.mode)[:1]
    ahead = f"  (best {best[0].value:.4g}, trial {best[0].number})" if best else ""
    why = f"  {trial.why}" if trial.state == "failed" else ""
    chosen = " ".join(f"{key}={short(value)}" for key, value in trial.parameters.items())
    return f"{over}/{sweep.trials}  trial {number} {trial.state}{value}  {chosen}{ahead}{why}"


def short(value: Value) -> str:
    """A value as tables show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranked(trials: Sequence[Trial], mode: Mode) -> list[Trial]:
    """Complete trials, best first; equal ones by number."""
    sign = 1 if mode == "min" else -1
    complete = [one for one in trials if one.state == "complete" and one.value is not None]
    return sorted(complete, key=lambda one: (sign * (one.value or 0.0), one.number))
