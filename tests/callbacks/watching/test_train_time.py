from __future__ import annotations

from typing import Any

import pytest

from trackside.callbacks.watching import train_time
from trackside.callbacks.watching.train_time import TrainTime
from trackside.testing import ScriptedRun


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ScriptedRun:
    """A run whose passes take 4 seconds here and 8 on another rank."""
    times = iter(range(0, 100, 4))
    monkeypatch.setattr(train_time, "perf_counter", lambda: float(next(times)))
    run = ScriptedRun(TrainTime())
    monkeypatch.setattr(run.world, "gather", lambda seconds: [seconds, 2 * seconds])
    return run


def test_mean_and_maximum_over_ranks_are_recorded(run: ScriptedRun) -> None:
    run.play([{}, {}])

    assert run.history.values("train_time/epoch_seconds_mean") == [6.0, 6.0]
    assert run.history.values("train_time/epoch_seconds_max") == [8.0, 8.0]
    assert run.history.values("train_time/total_seconds") == [8.0, 16.0]


def test_the_total_goes_on_after_a_resume() -> None:
    state: dict[str, Any] = {"total_seconds": 5.0}
    time = TrainTime()

    time.load_state_dict(state)

    assert time.state_dict() == state
