"""R2: killed at any moment and started again, a run ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.faults.figures import Figure
from tests.faults.lives import SAVE_INTERVAL, Life, Options, check, kill_and_resume
from tests.faults.programs.control_run import ControlOptions
from tests.faults.programs.long_run import Options as Training

pytestmark = pytest.mark.timeout(600)

# Written in the background, the save under way and the one before may both be lost.
TRAININGS: dict[str, tuple[str, str, Options, int]] = {
    "plain": (
        "R2",
        "no augmentation, no workers, saved in the foreground",
        Training("", workers=0, augmented=False, background=False),
        SAVE_INTERVAL,
    ),
    "augmented": (
        "R2b",
        "augmentation in the main process, saved in the background",
        Training("", workers=0),
        2 * SAVE_INTERVAL,
    ),
    "workers": (
        "R2b",
        "augmentation in 2 workers, saved in the background",
        Training("", workers=2),
        2 * SAVE_INTERVAL,
    ),
    "process": (
        "R2b",
        "no workers, saved by another process",
        Training("", workers=0, writer="process"),
        2 * SAVE_INTERVAL,
    ),
    "control": ("R2b", "control: a loop written by hand", ControlOptions(""), SAVE_INTERVAL),
}


def at(folder: Path, options: Options) -> Options:
    return dataclasses.replace(options, directory=str(folder))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Options], Life]:
    """The same training, never killed; trained once."""
    known: dict[Options, Life] = {}

    def train(options: Options) -> Life:
        if options not in known:
            known[options] = Life(at(tmp_path_factory.mktemp("unbroken"), options))
        return known[options]

    return train


def play(
    name: str, folder: Path, unbroken: Callable[[Options], Life], seed: int, figure: Figure
) -> None:
    row, what, options, may_lose = TRAININGS[name]
    figure(row, f"bitwise after SIGKILL: {what}")
    never_killed = unbroken(options)
    assert never_killed.final is not None
    lives = kill_and_resume(at(folder, options), never_killed, random.Random(seed))
    check(lives, never_killed, may_lose=may_lose)


@pytest.mark.parametrize("name", TRAININGS)
def test_killed_at_a_random_moment_it_ends_bitwise_the_same(
    tmp_path: Path, unbroken: Callable[[Options], Life], name: str, figure: Figure
) -> None:
    play(name, tmp_path, unbroken, 0, figure)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 199))
@pytest.mark.parametrize("name", TRAININGS)
def test_of_a_hundred_killed_runs_a_hundred_end_bitwise_the_same(
    tmp_path: Path, unbroken: Callable[[Options], Life], name: str, seed: int, figure: Figure
) -> None:
    play(name, tmp_path, unbroken, seed, figure)


@pytest.mark.parametrize(
    ("whole", "broken"),
    [
        pytest.param(Training(""), {"broken": True}, id="sampler"),
        pytest.param(ControlOptions(""), {"fault": "sampler"}, id="control's sampler"),
        pytest.param(ControlOptions(""), {"fault": "random"}, id="control's generators"),
    ],
)
def test_a_run_that_forgets_where_it_was_is_caught(
    tmp_path: Path,
    unbroken: Callable[[Options], Life],
    whole: Options,
    broken: dict[str, Any],
) -> None:
    never_killed = unbroken(whole)
    options = dataclasses.replace(at(tmp_path, whole), **broken)
    # In the middle of the fourth epoch.
    first = Life(options, kill_after=never_killed.lines.index(["step", 21]))
    assert first.final is None

    with pytest.raises(AssertionError):
        check([first, Life(options)], never_killed, may_lose=2 * SAVE_INTERVAL)


def test_the_same_command_again_goes_on(
    tmp_path: Path, unbroken: Callable[[Options], Life]
) -> None:
    never_killed = unbroken(Training(""))
    command = [sys.executable, "-m", "tests.faults.programs.long_run", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=REPOSITORY
    ) as child:
        assert child.stdout is not None
        while json.loads(child.stdout.readline())[:2] != ["step", 10]:
            pass
        os.killpg(child.pid, signal.SIGKILL)
    again = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY)

    last = json.loads(again.stdout.splitlines()[-1])
    assert last == json.loads(json.dumps(["end", never_killed.final]))
