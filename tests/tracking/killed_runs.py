"""A training that a tracker hears of, killed after a checkpoint, and gone on with."""

from __future__ import annotations

import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from tests.forks import FORKS, start_server
from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.history import History
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.tracking.media import Media, Text
from trackside.tracking.tracker import Tracker

KILLED_AT = 7
"""Step; the checkpoint before it is of step 4, the run ends at 9."""


class Kill(Callback[Run]):
    """Kills the process at a step, once the tracker has had all, or as soon as it can."""

    runs_after = ("*",)

    def __init__(self, tracker: Tracker, delivered: bool) -> None:
        self.tracker, self.delivered = tracker, delivered

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == KILLED_AT:
            if self.delivered and self.tracker._queue is not None:
                assert self.tracker._queue.flush(60)
            os.kill(os.getpid(), signal.SIGKILL)


class Notes(Callback[Run]):
    """A text at steps 3 and 6."""

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed in (3, 6):
            run.emit(Media.on_text, "notes", Text(f"step {run.progress.steps_completed}"))


def train(kind: type[Tracker], options: dict[str, Any], folder: Path, extra: list[Any]) -> History:
    """Train nine steps, or go on."""
    torch.set_num_threads(1)
    task = tiny_regression()
    tracker = kind(**options)
    made = [make(tracker) for make in extra]
    trainer = task.trainer(
        callbacks=[tracker, Notes(), Checkpoint("4 steps", background=False), *made],
        settings=Settings(directory=folder, log_every="1 step"),
    )
    return trainer.fit(task.train, epochs=3, resume="auto").history


def _first_life(
    kind: type[Tracker], options: dict[str, Any], folder: Path, delivered: bool
) -> None:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        train(kind, options, folder, [lambda tracker: Kill(tracker, delivered)])


def killed_and_gone_on(
    kind: type[Tracker], options: dict[str, Any], folder: Path, *, delivered: bool
) -> History:
    """Records of a run that was killed at `KILLED_AT`, and then trained to its end."""
    start_server()
    process = FORKS.Process(target=_first_life, args=(kind, options, folder, delivered))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return train(kind, options, folder, [])


def points(history: History) -> list[tuple[str, int]]:
    """Names and steps of all values of a history, sorted."""
    return sorted((name, record.step) for record in history for name in record.values)
