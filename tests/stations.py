"""A training process that stops at a station until it is told to go on; for `test_signals.py`.

It has a module of its own because the processes are forked from one that has imported it already.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tests.device  # noqa: F401 - trains there
from trackside import Callback, Settings
from trackside.run import Run
from trackside.testing import tiny_regression


class Station(Callback[Run]):
    """Says what it hears, and waits at `place`."""

    def __init__(self, place: str, line: Connection) -> None:
        self._place = place
        self._line = line

    def say(self, *words: object) -> None:
        self._line.send(" ".join(map(str, words)))

    def _at(self, place: str, step: int, run: Run) -> None:
        if place == self._place:
            self.say("at", step)
            # The test sends its signals, then a word: no clock decides what comes first.
            heard = False
            while not self._line.poll(0.01):
                if run.stopping and not heard:
                    heard = True
                    self.say("heard")
            self._line.recv()
            self.say("on")

    def on_setup_start(self, run: Run) -> None:
        self._at("setup", 0, run)

    def on_batch_start(self, run: Run, batch: Any) -> None:
        if run.progress.steps_completed == 1:
            self._at("step", 1, run)

    def on_evaluation_batch_start(self, run: Run, evaluation: Any, batch: Any) -> None:
        if evaluation.batches_completed == 1:
            self._at("evaluation", run.progress.steps_completed, run)

    def on_predict_start(self, run: Run) -> None:
        self._at("predict", 0, run)

    def on_step_end(self, run: Run) -> None:
        self.say("step", run.progress.steps_completed)

    def on_stop(self, run: Run, reason: str) -> None:
        self.say("stop", reason)

    def on_exception(self, run: Run, error: BaseException) -> None:
        self.say("exception", type(error).__name__)

    def on_close(self, run: Run, outcome: Any) -> None:
        self.say("close", outcome.status, outcome.exit_code, outcome.step)
        self._at("close", 0, run)


class Other(Callback[Run]):
    """Is closed after the station."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def on_close(self, run: Run, outcome: Any) -> None:
        self._station.say("other closed")


def train(place: str, mode: str, line: Connection, folder: Path) -> None:
    """Run `mode`, and end as a program does that catches nothing."""
    os.chdir(folder)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    station = Station(place.removesuffix(", then over"), line)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    former = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    task = tiny_regression(samples=40)
    trainer = task.trainer(callbacks=[Other(station), station], settings=Settings(directory="run"))
    try:
        if mode == "fit":
            trainer.fit(task.train, task.validation, epochs=3, evaluate_every="3 steps")
        elif mode == "evaluate":
            trainer.evaluate(task.train)
        else:
            trainer.predict(task.train)
    except BaseException as error:
        station.say("raised", type(error).__name__, getattr(error, "result", None) is not None)
        if place == "step, then over":
            station.say("over")
            line.recv()
        raise
    finally:
        if trainer.result is not None:
            outcome = trainer.result.outcome
            station.say("result", outcome.status, outcome.reason, outcome.asked_by)
        restored = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        station.say("restored", getattr(restored[0], "__name__", None), restored[1] == former[1])
