"""Killed at any moment and resumed with the same command, a run ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "programs" / "long_run.py"
SAVE_INTERVAL = 3
pytestmark = pytest.mark.timeout(600)


class Killed:
    """One life of the program: what it printed until it was killed, or ended."""

    def __init__(self, directory: Path, *options: str, kill_after: int | None = None) -> None:
        self.lines: list[list[Any]] = []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory), *options],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        with child:
            assert child.stdout is not None
            for number, line in enumerate(child.stdout, start=1):
                try:
                    self.lines.append(json.loads(line))
                except json.JSONDecodeError:  # cut by the kill
                    continue
                if number == kill_after:
                    child.kill()
                    # A worker of torch's loader that has just been forked never sees that its
                    # parent died, and would keep the pipe open: what starts jobs kills its group.
                    child.wait()
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)

    @property
    def final(self) -> Any:
        return next((line[1] for line in self.lines if line[0] == "end"), None)

    @property
    def batches(self) -> dict[int, str]:
        return {line[1]: line[2] for line in self.lines if line[0] == "batch"}

    @property
    def steps(self) -> list[int]:
        return [line[1] for line in self.lines if line[0] == "step"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    run = Killed(tmp_path_factory.mktemp("unbroken"))
    assert run.final is not None
    return run


def lives(directory: Path, unbroken: Killed, dice: random.Random) -> list[Killed]:
    """Kill the run once or twice at random moments, then let it end."""
    killed: list[Killed] = []
    for _ in range(dice.choice([1, 1, 2])):
        killed.append(Killed(directory, kill_after=dice.randint(1, len(unbroken.lines) - 2)))
    return [*killed, Killed(directory)]


def check(found: list[Killed], unbroken: Killed) -> None:
    assert found[-1].final == unbroken.final, "weights, records or states differ"
    done = 0
    for life in found:
        for number, seen in life.batches.items():
            assert unbroken.batches[number] == seen, f"batch {number} is another one"
        first = min(life.steps, default=done + 1)
        # The save under way when it was killed, and the one before, may both be lost.
        assert done - first + 1 <= 2 * SAVE_INTERVAL, f"{done - first + 1} steps were lost"
        done = max([done, *life.steps])


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_random_moment_it_ends_bitwise_the_same(
    tmp_path: Path, unbroken: Killed, seed: int
) -> None:
    check(lives(tmp_path, unbroken, random.Random(seed)), unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_campaign_of_kills(tmp_path: Path, unbroken: Killed, seed: int) -> None:
    check(lives(tmp_path, unbroken, random.Random(seed)), unbroken)


def test_a_sampler_that_forgets_its_position_is_caught(tmp_path: Path, unbroken: Killed) -> None:
    first = Killed(tmp_path, kill_after=len(unbroken.lines) // 2)
    assert first.final is None
    resumed = Killed(tmp_path, "broken")

    with pytest.raises(AssertionError):
        check([first, resumed], unbroken)
