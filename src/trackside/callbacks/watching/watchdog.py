"""`Watchdog`."""

from __future__ import annotations

import faulthandler
import logging
import threading
from pathlib import Path
from time import monotonic
from typing import final

from trackside.callbacks.watching.crash_capsule import CrashCapsule
from trackside.callbacks.watching.standstill import Standstill
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder.inside import append_inside

logger = logging.getLogger("trackside")


@final
class Watchdog(Callback):
    """Says where the program is when it has stood still for too long.

    When no batch was completed for `timeout_seconds`, in training, in an evaluation or in a pass
    that a callback makes over a data set, a warning names what is at work: a callback's hook, or
    the model, the data and the loop. The stacks of all threads are written to a file in the run's
    folder. A thread looks at the run's counters: a step costs nothing. Each rank watches itself.

    Args:
        timeout_seconds: Standstill that is reported; the next report of the same standstill comes
            after twice the time. Choose it above the longest step, compilation included.
        folder: Where the stacks are written, in the run's folder.
        stop: Whether the end is asked for as well. It is taken when the step comes to its end, if
            it does.

    Raises:
        ConfigurationError: `timeout_seconds` isn't positive.

    Example:
        >>> Watchdog(timeout_seconds=600)
        Watchdog(600)
    """

    effect = "steers"
    writes = ("folder",)
    settable = ("timeout_seconds",)
    on_error = "warn"

    def __init__(
        self, timeout_seconds: float = 300.0, *, folder: str | Path = "stacks", stop: bool = False
    ) -> None:
        if not timeout_seconds > 0:
            raise ConfigurationError(
                f"timeout_seconds={timeout_seconds!r} isn't a time",
                expected="a positive number",
                option="timeout_seconds",
            )
        self.timeout_seconds = timeout_seconds
        self.folder = str(local_path(folder, "folder"))
        self.stop = stop
        self.reports: list[Path] = []
        """Files that were written in this run."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def on_fit_start(self, run: Run) -> None:
        self.reports = []
        self._ended.clear()
        self._thread = threading.Thread(
            target=self._watch, args=(run,), name="watchdog", daemon=True
        )
        self._thread.start()

    def on_fit_end(self, run: Run) -> None:
        self._end()

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._end()

    def _end(self) -> None:
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _watch(self, run: Run) -> None:
        standstill = Standstill(self.timeout_seconds)
        while not self._ended.wait(self.timeout_seconds / 10):
            seconds = standstill.seconds_to_report(monotonic(), counts_of(run))
            if seconds is not None:
                self._report(run, seconds)

    def _report(self, run: Run, seconds: float) -> None:
        calling, step = run.current_callback, run.progress.steps_completed
        where = (
            f"callback {calling!r} is being called" if calling else "no callback is being called"
        )
        name = f"{self.folder}/step-{step}-rank-{run.world.rank}.txt"
        path = run.directory / name
        with append_inside(run.directory, name) as file:
            file.write(f"after {step} steps, {seconds:.0f} s without a batch: {where}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self.reports.append(path)
        message = f"nothing has moved for {seconds:.0f} s after {step} steps: {where}"
        logger.warning("%s; stacks of all threads are in %s", message, path)
        for one in run.callbacks:
            if isinstance(one, CrashCapsule):
                one.alarm(run, message)
        if self.stop:
            run.stop(message, asked_by="watchdog")


def counts_of(run: Run) -> tuple[object, ...]:
    """Counts of a run, at least one of which changes with each batch, whoever asks for it."""
    evaluation, progress = run.evaluation, run.progress
    return (
        progress.batches_completed,
        progress.steps_completed,
        None if evaluation is None else evaluation.name,
        0 if evaluation is None else evaluation.batches_completed,
        *[source.batches_aside for source in vars(run).get("data", {}).values()],
    )
