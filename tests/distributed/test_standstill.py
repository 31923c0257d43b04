"""Ranks that wait for each other, without processes: programs are frames that stand still."""

from __future__ import annotations

import logging
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from torch._C._distributed_c10d import HashStore

from trackside import ConfigurationError, World
from trackside.distributed import standstill
from trackside.distributed.failure import Failure, PeerFailed
from trackside.distributed.standstill import Standstill, place_of, wait_seconds

FILES = {
    "wait_for": "/usr/lib/site-packages/trackside/distributed/links.py",
    "all_reduce": "/usr/lib/site-packages/torch/distributed/distributed_c10d.py",
    "_engine_run_backward": "/usr/lib/site-packages/torch/autograd/graph.py",
    "read_a_file": "mine/mine.py",
}
"""Functions, and the files in which they seem to be written."""


def frame_in(function: str) -> Any:
    """The innermost frame of a program that stands in a function, called by a user's hook."""

    def frame(name: str, file: str, back: Any) -> Any:
        code = SimpleNamespace(co_name=name, co_filename=file)
        return SimpleNamespace(f_code=code, f_lineno=7, f_back=back)

    hook = frame("on_step_end", "mine/hooks.py", None)
    library = frame("wrapped", "/usr/lib/site-packages/torch/nn/module.py", hook)
    return frame(function, FILES[function], library)


def _same(value: Any) -> Any:
    return value


class Ranks:
    """Ranks that look for themselves, while a clock goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *functions: str) -> None:
        self.now = 0.0
        self.computed = 0.0
        clock = SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: self.computed)
        monkeypatch.setattr(standstill, "time", clock)
        self.steps = 0
        self.store: Any = HashStore()
        self.looks = []
        for number, function in enumerate(functions):
            world, frame = World(number), frame_in(function)
            world.size = len(functions)
            frames: Any = partial(_same, frame)
            when = partial(_same, "after step 3")
            self.looks.append(Standstill(world, lambda: self.steps, when, 10.0, frames))

    def stand(self, seconds: int, *, computing: float = 0.0, stepping: bool = False) -> Any:
        """The first failure that is found while nothing goes on, and after how many seconds."""
        for _ in range(seconds):
            self.now += 1
            self.computed += computing
            self.steps += stepping
            for looks in self.looks:
                failure = looks.look(self.store)
                if failure is not None:
                    return failure, self.now
        return None


def test_ranks_in_different_collectives_end_with_the_places_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failure, after = Ranks(monkeypatch, "all_reduce", "_engine_run_backward").stand(30)

    assert 10 <= after <= 15
    assert "rank 0 waits in `all_reduce` called at" in failure.summary
    assert "rank 1 waits in `backward` called at" in failure.summary
    assert failure.summary.count("(on_step_end), after step 3") == 2


def test_the_error_says_how_to_mend_it() -> None:
    error = PeerFailed(Failure.waiting(30.0, "  rank 0 waits"), 0)

    assert "rank 0 ends because all ranks wait for each other, for 30 seconds" in str(error)
    assert "let every rank call the same collectives" in str(error)


@pytest.mark.parametrize(
    ("functions", "how"),
    [
        (("all_reduce", "all_reduce"), {}),
        (("all_reduce", "read_a_file"), {}),
        (("all_reduce", "_engine_run_backward"), {"computing": 0.9}),
        (("all_reduce", "_engine_run_backward"), {"stepping": True}),
    ],
    ids=["in the same", "one is busy", "all compute", "steps are taken"],
)
def test_nothing_else_ends_a_run(
    functions: tuple[str, str], how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Ranks(monkeypatch, *functions).stand(100, **how) is None


def test_the_place_of_a_busy_rank_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Ranks(monkeypatch, "wait_for", "read_a_file").stand(100)

    assert len(caplog.records) == 1
    assert "rank 0 has waited" in caplog.text
    assert "rank 1 is in `read_a_file`" in caplog.text


def test_a_rank_that_goes_on_takes_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks(monkeypatch, "all_reduce", "read_a_file")
    ranks.stand(20)
    ranks.stand(1, stepping=True)

    assert [ranks.store.get(f"place/{rank}") for rank in range(2)] == [b"", b""]


def test_zero_seconds_wait_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKSIDE_WAIT_SECONDS", "0")
    assert wait_seconds() == 0
    looks = Standstill(World(), lambda: 1, lambda: "", 0.0, lambda: frame_in("all_reduce"))
    looks.look(HashStore())
    assert looks.look(HashStore()) is None


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_a_time_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="TRACKSIDE_WAIT_SECONDS"):
        wait_seconds({"TRACKSIDE_WAIT_SECONDS": given})


def test_the_line_that_called_is_the_user_s() -> None:
    place = place_of(frame_in("all_reduce"), "now")

    assert place.what == "`all_reduce` called at mine/hooks.py:7 (on_step_end)"
