"""Where a pass breaks off when a worker process is gone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from trackside.data.loaded import LoadedBatch, numbered
from trackside.errors import Terminated
from trackside.loop.broken_off import Pass, breaking_off, is_broken_off
from trackside.run import Evaluation


def broken() -> Iterator[LoadedBatch]:
    yield from numbered([1])
    raise RuntimeError("DataLoader worker exited unexpectedly")


def a_pass(*, signal: int | None = 15, lost: bool = True, ranks: int = 1) -> Pass:
    run: Any = SimpleNamespace(
        requests=SimpleNamespace(signal=signal),
        progress=SimpleNamespace(steps_completed=4),
        world=SimpleNamespace(size=ranks),
        evaluation=None,
    )
    source: Any = SimpleNamespace(workers=SimpleNamespace(exist=True, lost=lost))
    made = breaking_off(run, source, broken())
    assert isinstance(made, Pass)
    assert next(made).data == 1
    return made


def test_between_two_steps_the_data_ends_there() -> None:
    batches = a_pass()
    batches._run.progress.steps_completed = 5

    assert list(batches) == []
    assert is_broken_off(batches)


def test_within_a_step_the_run_ends_at_once() -> None:
    with pytest.raises(Terminated):
        next(a_pass())


def test_an_evaluation_ends_there() -> None:
    batches = a_pass()
    batches._run.evaluation = Evaluation("val")

    assert list(batches) == []


@pytest.mark.parametrize("why", [{"signal": None}, {"lost": False}])
def test_another_error_stays_an_error(why: dict[str, Any]) -> None:
    batches = a_pass(**why)
    batches._run.progress.steps_completed = 5

    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        next(batches)
    assert not is_broken_off(batches)


def test_on_several_ranks_the_others_hear_of_it() -> None:
    batches = a_pass(ranks=2)
    batches._run.progress.steps_completed = 5

    with pytest.raises(Terminated):
        next(batches)


def test_data_without_workers_is_passed_over_as_it_is() -> None:
    batches = numbered([1, 2])
    source: Any = SimpleNamespace(workers=SimpleNamespace(exist=False))
    loop: Any = object()

    assert breaking_off(loop, source, batches) is batches
