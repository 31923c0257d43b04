"""Functions and hooks that run on some ranks only."""

from __future__ import annotations

from typing import Any

import pytest

from trackside import Callback, Run
from trackside.distributed import World
from trackside.distributed.decorators import on_rank, rank_zero_only
from trackside.errors import ConfigurationError, UsageError
from trackside.lifecycle.collection import CallbackCollection


class CountingWorld(World):
    """A world of this rank that counts barriers."""

    barriers = 0

    def barrier(self) -> None:
        type(self).barriers += 1


def run_of(rank: int) -> Run:
    run = Run("fit")
    run.world = CountingWorld(rank=rank, local_rank=rank)
    return run


@pytest.fixture(autouse=True)
def none_yet() -> None:
    CountingWorld.barriers = 0


class Notes(Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    @rank_zero_only
    def on_fit_start(self, run: Run) -> None:
        self.seen.append("first")

    @on_rank(1, 2, barrier=True)
    def on_fit_end(self, run: Run) -> None:
        self.seen.append("others")


@pytest.mark.parametrize(("rank", "seen"), [(0, ["first"]), (1, ["others"]), (3, [])])
def test_a_hook_runs_on_its_ranks(rank: int, seen: list[str]) -> None:
    notes, run = Notes(), run_of(rank)
    notes.on_fit_start(run)
    notes.on_fit_end(run)

    assert (notes.seen, CountingWorld.barriers) == (seen, 1)


def test_a_decorated_hook_joins_as_any_other() -> None:
    assert CallbackCollection([Notes()]).order("on_fit_start") == ["notes"]


@pytest.mark.parametrize(("rank", "result"), [("0", 7), ("2", None)])
def test_a_function_without_a_run_asks_the_launcher_for_its_rank(
    rank: str, result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}
    for name, value in {**place, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)

    assert rank_zero_only(lambda: 7)() == result


def test_the_others_do_not_wait_for_one_that_fails_without_end() -> None:
    @on_rank(0, barrier=True)
    def fails(run: Run) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails(run_of(0))
    fails(run_of(1))

    assert CountingWorld.barriers == 2


def test_a_barrier_needs_a_run() -> None:
    with pytest.raises(UsageError, match="gets no run"):
        on_rank(0, barrier=True)(lambda: None)()


@pytest.mark.parametrize("ranks", [(), (-1,)])
def test_ranks_that_cannot_be_are_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="ranks that there are"):
        on_rank(*ranks)
