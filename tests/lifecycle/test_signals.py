"""SIGINT and SIGTERM, sent to real processes at known points of a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.forks import FORKS, start_server
from tests.stations import train


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    start_server()


class Process:
    """A training process that waits at a station."""

    def __init__(self, process: Any, line: Any) -> None:
        self._process = process
        self._line = line
        self.said: list[str] = []

    def read_until(self, word: str) -> None:
        while not self.said or self.said[-1].split()[0] != word:
            self.said.append(self._line.recv())

    def send(self, *numbers: int) -> None:
        for number in numbers:
            os.kill(self._process.pid, number)

    def end(self) -> int:
        """Let it go on; its exit code."""
        self._line.send("go")
        try:
            while True:
                self.said.append(self._line.recv())
        except (EOFError, ConnectionResetError):  # reset: it ended without reading the word
            self._process.join()
        code: int = self._process.exitcode
        return code

    @property
    def afterwards(self) -> list[str]:
        """What it said after it had waited."""
        waited = max(n for n, line in enumerate(self.said) if line.startswith("at "))
        return self.said[waited + 1 :]


@contextmanager
def started(place: str, mode: str = "fit") -> Iterator[Process]:
    line, other_end = FORKS.Pipe()
    process = FORKS.Process(target=train, args=(place, mode, other_end, os.getcwd()))
    process.start()
    other_end.close()
    try:
        yield Process(process, line)
    finally:
        process.kill()
        process.join()
        line.close()


SIGNALS: list[Any] = [
    pytest.param(signal.SIGINT, "Ctrl-C", 130, id="SIGINT"),
    pytest.param(signal.SIGTERM, "SIGTERM", 143, id="SIGTERM"),
]


@pytest.mark.parametrize(("number", "reason", "code"), SIGNALS)
def test_one_signal_in_a_step_ends_the_run_after_that_step(
    number: int, reason: str, code: int
) -> None:
    with started("step") as process:
        process.read_until("at")
        process.send(number)
        assert process.end() == code

    assert process.afterwards == [
        "on",
        "step 2",
        f"stop {reason}",
        f"close interrupted {code} 2",
        "other closed",
        f"result interrupted {reason} signal",
        "restored True",
    ]


@pytest.mark.parametrize(("number", "reason", "code"), SIGNALS)
def test_the_same_signal_twice_ends_the_run_and_closes_it_once(
    number: int, reason: str, code: int
) -> None:
    with started("step") as process:
        process.read_until("at")
        process.send(number, number)
        ended = process.end()

    # Two of a kind may reach a process as one: then it stops after the step.
    closed = [line for line in process.said if line.startswith("close")]
    assert closed in ([f"close interrupted {code} 1"], [f"close interrupted {code} 2"])
    assert process.said.count("other closed") == 1
    assert process.said[-1] == "restored True"
    assert ended in (code, 1)


def test_two_signals_end_the_run_at_once_and_close_it() -> None:
    with started("step") as process:
        process.read_until("at")
        process.send(signal.SIGINT, signal.SIGTERM)
        ended = process.end()

    # Of two that wait, Python handles the lower number first: SIGTERM is the second.
    assert process.afterwards == [
        "exception Terminated",
        "close interrupted 143 1",
        "other closed",
        "restored True",
    ]
    assert ended == 143


@pytest.mark.parametrize(("number", "reason", "code"), SIGNALS)
def test_a_signal_in_an_evaluation_cuts_it_short(number: int, reason: str, code: int) -> None:
    with started("evaluation") as process:
        process.read_until("at")
        process.send(number)
        assert process.end() == code

    assert process.afterwards == [
        "on",
        f"stop {reason}",
        f"close interrupted {code} 3",
        "other closed",
        f"result interrupted {reason} signal",
        "restored True",
    ]


@pytest.mark.parametrize(("mode", "said"), [("evaluate", "found"), ("predict", "predicted 4")])
def test_a_signal_ends_an_evaluation_or_prediction_by_itself(mode: str, said: str) -> None:
    with started("evaluation" if mode == "evaluate" else mode, mode) as process:
        process.read_until("at")
        process.send(signal.SIGINT)
        process.end()

    assert process.afterwards == [
        "on",
        "stop Ctrl-C",
        "close interrupted 130 0",
        "other closed",
        said,
        "restored True",
    ]


def test_a_signal_before_the_first_step_is_kept_until_the_first_safe_point() -> None:
    with started("setup") as process:
        process.read_until("at")
        process.send(signal.SIGTERM)
        assert process.end() == 143

    assert process.afterwards[:3] == ["on", "stop SIGTERM", "close interrupted 143 0"]


def test_a_signal_while_closing_a_completed_run_changes_nothing() -> None:
    with started("close") as process:
        process.read_until("at")
        process.send(signal.SIGINT)
        assert process.end() == 0

    assert process.afterwards == [
        "on",
        "other closed",
        "result completed reached epochs=3 None",
        "restored True",
    ]
