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

    def go_on(self) -> None:
        self._line.send("go")

    def end(self) -> int:
        """Let it go on; its exit code."""
        self.go_on()
        try:
            while True:
                self.said.append(self._line.recv())
        except (EOFError, ConnectionResetError):  # reset: it ended without reading the word
            self._process.join()
        code: int = self._process.exitcode
        return code

    @property
    def afterwards(self) -> list[str]:
        """What it said after it had waited, and had heard a signal meanwhile or not."""
        waited = max(n for n, line in enumerate(self.said) if line.startswith("at "))
        return [line for line in self.said[waited + 1 :] if line != "heard"]


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
    pytest.param(signal.SIGHUP, "SIGHUP", 129, id="SIGHUP"),
]


def told(reason: str) -> list[str]:
    """What the caller of a run hears that a signal has ended."""
    kind = "Interrupted" if reason == "Ctrl-C" else "Terminated"
    return [
        f"raised {kind} True",
        f"result interrupted {reason} signal",
        "restored late_interrupt True",
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
        *told(reason),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_repeated_sigterm_is_the_same_request(number: int) -> None:
    with started("step") as process:
        process.read_until("at")
        process.send(signal.SIGTERM, number, number)
        assert process.end() in (143, 129)  # of two that wait, the lower number is handled first

    assert "step 2" in process.said
    assert [line for line in process.said if line.startswith("close")] == [
        f"close interrupted {128 + (signal.SIGHUP if 'stop SIGHUP' in process.said else 15)} 2"
    ]


def test_a_second_ctrl_c_ends_the_run_at_once_and_closes_it() -> None:
    with started("step") as process:
        process.read_until("at")
        process.send(signal.SIGINT)
        process.read_until("heard")
        process.send(signal.SIGINT)
        ended = process.end()

    assert process.afterwards == [
        "exception Interrupted",
        "close interrupted 130 1",
        "other closed",
        *told("Ctrl-C"),
    ]
    assert ended == 130


def test_a_ctrl_c_after_the_end_of_an_interrupted_run_has_the_exit_code_of_one() -> None:
    with started("step, then over") as process:
        process.read_until("at")
        process.send(signal.SIGTERM)
        process.go_on()
        process.read_until("over")
        process.send(signal.SIGINT)
        assert process.end() == 130


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
        *told(reason),
    ]


@pytest.mark.parametrize("mode", ["evaluate", "predict"])
def test_a_signal_ends_an_evaluation_or_prediction_by_itself(mode: str) -> None:
    with started("evaluation" if mode == "evaluate" else mode, mode) as process:
        process.read_until("at")
        process.send(signal.SIGINT)
        assert process.end() == 130

    assert process.afterwards == [
        "on",
        "stop Ctrl-C",
        "close interrupted 130 0",
        "other closed",
        *told("Ctrl-C"),
    ]


def test_a_signal_before_the_first_step_is_kept_until_the_first_safe_point() -> None:
    with started("setup") as process:
        process.read_until("at")
        process.send(signal.SIGTERM)
        assert process.end() == 143

    assert process.afterwards[:3] == ["on", "stop SIGTERM", "close interrupted 143 0"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_completed_run_closes_ends_its_caller_and_not_the_run(
    number: int, code: int
) -> None:
    with started("close") as process:
        process.read_until("at")
        process.send(number)
        assert process.end() == code

    assert process.afterwards == [
        "on",
        "other closed",
        f"raised {'Interrupted' if code == 130 else 'Terminated'} True",
        "result completed reached epochs=3 None",
        "restored late_interrupt True",
    ]
