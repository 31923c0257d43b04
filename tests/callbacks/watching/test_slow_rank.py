from __future__ import annotations

import logging
from typing import Any

import pytest

from trackside.callbacks.watching.slow_rank import SlowRank, compare
from trackside.errors import ConfigurationError, ScheduleError
from trackside.testing import ScriptedRun


def test_the_slowest_is_compared_with_the_median() -> None:
    assert compare([1.0, 1.0, 3.0]) == (2, 3.0)
    assert compare([0.0, 0.0]) == (0, 1.0)


def play(monkeypatch: pytest.MonkeyPatch, others: float, steps: int = 4) -> ScriptedRun:
    """A run on three ranks, of which the last takes `others` times as long as this one."""
    run = ScriptedRun(SlowRank("2 steps"))

    def gather(told: Any) -> list[Any]:
        return ["here", "here", "there"] if isinstance(told, str) else [told, told, others * told]

    monkeypatch.setattr(run.world, "gather", gather)

    def train(run: ScriptedRun) -> None:
        for _ in range(steps):
            run.tell_step()

    run.play(train)
    return run


def test_the_times_of_all_ranks_are_recorded_on_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    history = play(monkeypatch, others=1.1).history

    assert history.values("ranks/slowdown") == pytest.approx([1.1, 1.1])
    assert history.values("ranks/slowest") == [2.0, 2.0]
    assert (history.latest("ranks/median_seconds") or 0) > 0


def test_a_rank_that_is_too_slow_is_named_with_its_machine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play(monkeypatch, others=2.0, steps=2)

    assert "rank 2 on there is slow: 2.00 times the median" in caplog.text


def test_ranks_that_are_even_are_not_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        play(monkeypatch, others=1.1)

    assert caplog.text == ""


def test_a_clock_is_refused_because_ranks_would_disagree() -> None:
    with pytest.raises(ScheduleError, match="by the clock"):
        SlowRank("10 seconds")


def test_a_threshold_that_names_everybody_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="warn_above"):
        SlowRank(warn_above=0.9)
