"""Time of one session by phase: set-up, steps, waiting for data, evaluations, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

from trackside.run import Run

PHASES = ("set-up", "steps", "waiting for data", "evaluations", "checkpoints", "callbacks")
"""Names of the phases, in the order in which they are shown."""


@final
class Phases:
    """Adds up the seconds of one session. The phases don't overlap.

    Callbacks are not part of the phase in which they run. Of a checkpoint counts the time that it
    kept the loop: for the copy, and waiting for the former one.

    Args:
        timer: Seconds from any origin.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self._timer = timer
        self._began = 0.0
        self._setup = 0.0
        self._seconds_before = 0.0
        self._callbacks_before = 0.0
        self._saving_before = 0.0
        self._evaluations = 0.0
        self._open: tuple[float, float] | None = None

    def session_begins(self) -> None:
        """The run is being set up."""
        self._began = self._timer()

    def training_begins(self, run: Run) -> None:
        """Set-up is over."""
        self._setup = self._timer() - self._began
        self._seconds_before = run.progress.seconds
        self._callbacks_before = _in_callbacks(run)
        self._saving_before = _saving(run)

    def evaluation_begins(self, run: Run) -> None:
        """A pass over a data set begins."""
        self._open = self._timer(), _in_callbacks(run)

    def evaluation_ends(self, run: Run) -> None:
        """The pass is over."""
        if self._open is not None:
            began, in_callbacks = self._open
            self._evaluations += self._timer() - began - (_in_callbacks(run) - in_callbacks)
            self._open = None

    def seconds(self, run: Run) -> dict[str, float]:
        """Seconds of this session so far, by the names of `PHASES`."""
        waiting = run.data_wait_seconds or 0.0
        saving = _saving(run) - self._saving_before
        callbacks = _in_callbacks(run) - self._callbacks_before
        training = run.progress.seconds - self._seconds_before
        steps = training - waiting - self._evaluations - saving - callbacks
        parts = (self._setup, steps, waiting, self._evaluations, saving, callbacks)
        return {name: round(max(0.0, part), 6) for name, part in zip(PHASES, parts, strict=True)}


def _saving(run: Run) -> float:
    return 0.0 if run.saver is None else run.saver.blocked_seconds


def _in_callbacks(run: Run) -> float:
    return sum(run.callback_seconds.values())
