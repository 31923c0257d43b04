"""R27: workers of a sweep are killed at any moment; each trial ends once, as in an unbroken one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figure
from tests.faults.programs.killed_sweep import FILE, TRIALS, Options, live, sweep
from tests.forks import FORKS, start_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Told = list[tuple[int, list[Any]]]
"""Number of the process, and its words, in the order in which they came."""
KINDS = {
    "alone": (1, 1, "the only worker, then begun again"),
    "one of two": (2, 1, "one worker of two: the other takes its trial"),
    "both": (2, 2, "both workers, then begun again"),
}


def lives(options: Options, workers: int, *, kill_after: int | None = None, kill: int = 0) -> Told:
    """Let workers live until they end; kill some of them once so many words have come."""
    start_server()
    told: Told = []
    processes: dict[int, BaseProcess] = {}
    pipes: dict[Any, int] = {}
    for _ in range(workers):
        pipe, other_end = FORKS.Pipe()
        process: BaseProcess = FORKS.Process(target=live, args=(options, other_end))
        process.start()
        other_end.close()
        pid = process.pid or 0
        processes[pid], pipes[pipe] = process, pid
    while pipes:
        ready: list[Any] = list(wait(list(pipes)))
        for pipe in ready:
            try:
                told.append((pipes[pipe], pipe.recv()))
            except (EOFError, ConnectionResetError):
                del pipes[pipe]
                continue
            if len(told) == kill_after:
                # The one that has just spoken comes first.
                for pid in sorted(processes, key=lambda one: one != told[-1][0])[:kill]:
                    os.kill(pid, signal.SIGKILL)
    for process in processes.values():
        process.join()
    errors = [words[1] for _, words in told if words[0] == "error"]
    assert not errors, errors[0]
    return told


def asked(folder: Path) -> Options:
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(FILE)
    return Options(str(folder / "run.yaml"), str(folder / "sweep"))


def ends(options: Options) -> list[Any]:
    trials = sweep(options).store().trials()
    return [(one.number, one.state, one.parameters, one.value, one.why) for one in trials]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, list[Any]]:
    """What an unbroken sweep tells, and how its trials end."""
    options = asked(tmp_path_factory.mktemp("unbroken"))
    return lives(options, 1), ends(options)


def check_steps(told: Sequence[tuple[int, list[Any]]]) -> None:
    """No trial is trained by two processes at a time, after its end, or more often than needed."""
    at: dict[str, tuple[int, int]] = {}
    over: set[str] = set()
    left: set[tuple[str, int]] = set()
    for pid, words in told:
        if words[0] == "record is over":
            over.add(f"trial-{words[1]:04d}")
        if words[0] != "step":
            continue
        _, trial, step = words
        former, done = at.get(trial, (pid, 0))
        assert trial not in over, f"{trial} was trained after its end"
        assert (trial, pid) not in left, f"two processes trained {trial}"
        if former != pid:
            left.add((trial, former))
        # A step is told before it is saved: that of a life that was killed may come again.
        assert step in ((done + 1,) if former == pid else (done, done + 1)), f"{trial} at {step}"
        at[trial] = pid, step


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_moment_each_trial_ends_once_and_as_in_an_unbroken_sweep(
    tmp_path: Path, unbroken: tuple[Told, list[Any]], kind: str, seed: int, figure: Figure
) -> None:
    workers, kill, what = KINDS[kind]
    figure("R27", f"sweeps whole after SIGKILL: {what}")
    words, expected = unbroken
    options = asked(tmp_path)
    moment = random.Random(f"{kind} {seed}").randint(1, len(words) - 2)

    told = lives(options, workers, kill_after=moment, kill=kill)
    if kill == workers:
        told += lives(options, workers)

    assert [words for _, words in told].count(["end"]) >= 1
    assert ends(options) == expected
    assert [one[1] for one in expected] == ["complete"] * TRIALS
    check_steps(told)
