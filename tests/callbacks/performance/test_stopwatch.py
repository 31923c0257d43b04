"""Stopwatches and what is made of their laps."""

from __future__ import annotations

import pytest
import torch

from trackside.callbacks.performance import stopwatch
from trackside.callbacks.performance.stopwatch import Stopwatch, summary


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the clock will show, one reading after another."""
    readings: list[float] = []
    monkeypatch.setattr(stopwatch, "perf_counter", lambda: readings.pop(0))
    return readings


def test_phases_of_a_lap_add_up(clock: list[float]) -> None:
    clock.extend([1.0, 1.5, 2.0, 2.25, 7.0, 9.0])
    watch = Stopwatch(torch.device("cpu"))

    watch.lap()
    watch.start("forward")
    watch.stop("forward")
    watch.start("forward")
    watch.stop("forward")
    watch.lap()
    watch.start("forward")
    watch.stop("forward")

    assert watch.seconds() == [{"forward": 0.75}, {"forward": 2.0}]


def test_a_phase_that_never_began_is_not_taken() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.lap()
    watch.stop("backward")

    assert watch.seconds() == [{}]


def test_the_summary_has_median_and_mean_and_both_ends() -> None:
    found = summary([{"step": float(n)} for n in range(1, 10)] + [{"step": 100.0}])["step"]

    assert found["median"] == 5.5
    assert found["mean"] == 14.5
    assert found["p10"] == pytest.approx(1.1)
    assert found["p90"] > 9


def test_a_single_lap_is_its_own_summary() -> None:
    assert summary([{"step": 3.0}])["step"] == dict.fromkeys(("median", "mean", "p10", "p90"), 3.0)
