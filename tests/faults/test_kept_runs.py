"""R2: a run kept by `trackside.resume`, killed and started again, ends bitwise the same."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figure
from tests.faults.lives import Life, check, kill_and_resume
from tests.faults.programs.kept_run import SAVE_EVERY, KeptOptions
from tests.forks import PRELOADED

pytestmark = pytest.mark.timeout(600)

PLACES = {
    "by hand": "a loop by hand with `resume.keep`",
    "lightning": "Lightning's trainer with `resume.in_lightning`",
    "transformers": "the Trainer of transformers with `resume.in_transformers`",
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[KeptOptions], Life]:
    """The same training, never killed; trained once."""
    known: dict[Any, Life] = {}

    def train(options: KeptOptions) -> Life:
        key = dataclasses.replace(options, directory="")
        if key not in known:
            folder = str(tmp_path_factory.mktemp("unbroken"))
            known[key] = Life(dataclasses.replace(options, directory=folder))
        return known[key]

    return train


@pytest.fixture
def with_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children begin with the other trainers imported."""
    monkeypatch.setattr("tests.forks.PRELOADED", [*PRELOADED, "tests.faults.programs.kept_hosts"])


def play(
    options: KeptOptions, seed: int, unbroken: Callable[[KeptOptions], Life], figure: Figure
) -> None:
    workers = f"{options.workers} workers" if options.workers else "no workers"
    figure("R2", f"bitwise after SIGKILL: {PLACES[options.host]}, {workers}")
    never_killed = unbroken(options)
    assert never_killed.final is not None, never_killed.lines[-1]
    lives = kill_and_resume(options, never_killed, random.Random(seed))
    check(lives, never_killed, may_lose=2 * SAVE_EVERY)


def test_a_loop_by_hand_that_is_killed_ends_bitwise_the_same(
    tmp_path: Path, unbroken: Callable[[KeptOptions], Life], figure: Figure
) -> None:
    play(KeptOptions(str(tmp_path)), 1, unbroken, figure)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_of_a_hundred_loops_by_hand_a_hundred_end_bitwise_the_same(
    tmp_path: Path, unbroken: Callable[[KeptOptions], Life], seed: int, figure: Figure
) -> None:
    play(KeptOptions(str(tmp_path), workers=2 * (seed % 2)), seed, unbroken, figure)


@pytest.mark.peers
@pytest.mark.usefixtures("with_hosts")
@pytest.mark.parametrize("seed", range(100, 150))
@pytest.mark.parametrize("host", ["lightning", "transformers"])
def test_of_fifty_runs_of_another_trainer_fifty_end_bitwise_the_same(
    tmp_path: Path, unbroken: Callable[[KeptOptions], Life], host: Any, seed: int, figure: Figure
) -> None:
    play(KeptOptions(str(tmp_path), host, workers=2 * (seed % 2)), seed, unbroken, figure)
