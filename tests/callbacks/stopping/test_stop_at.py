from __future__ import annotations

import math
import time
from datetime import datetime
from typing import Any

import pytest

from trackside.callbacks.stopping.stop_at import StopAt
from trackside.errors import ConfigurationError
from trackside.testing import ScriptedRun, script, tiny_regression


@pytest.mark.parametrize(
    ("limit", "steps", "reason"),
    [
        ({"epoch": 2}, 8, "reached epoch 2"),
        ({"step": 3}, 3, "reached step 3"),
        ({"samples": 20}, 3, "reached samples 20"),
        ({"seconds": 4.5}, 5, "reached seconds 4.5"),
        ({"epoch": 9, "step": 2}, 2, "reached step 2"),
    ],
)
def test_the_run_stops_at_the_first_limit_reached(
    limit: dict[str, Any], steps: int, reason: str
) -> None:
    run = script(StopAt(**limit), [{}] * 4, epoch_steps=4, samples=8, seconds=1.0)

    assert run.outcome is not None
    assert (run.outcome.step, run.outcome.reason) == (steps, reason)


def test_a_moment_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.fromisoformat("2026-12-31 18:00")
    seconds = iter(range(-3, 10))
    clock = lambda: moment.timestamp() + next(seconds)  # noqa: E731
    monkeypatch.setattr(time, "time", clock)

    run = script(StopAt(date="2026-12-31 18:00"), [{}] * 4)

    assert run.outcome is not None
    assert run.outcome.reason == "it is 2026-12-31 18:00:00"
    assert run.outcome.step == 3


def test_a_limit_that_is_reached_already_stops_before_the_first_step() -> None:
    run = ScriptedRun(StopAt(step=5))
    run.progress.steps_completed = 5

    run.play([{}])

    assert run.stopped
    assert run.progress.steps_completed == 5


def test_epochs_alone_need_no_hook_of_a_step() -> None:
    assert "on_step_end" not in ScriptedRun(StopAt(epoch=1)).callbacks.table()


def test_a_real_run_stops_there() -> None:
    task = tiny_regression()

    result = task.trainer(callbacks=[StopAt(samples=9)]).fit(task.train, epochs=5)

    assert (result.outcome.asked_by, result.outcome.step) == ("stop_at", 3)


@pytest.mark.parametrize(
    ("options", "values", "step", "reason", "status"),
    [
        ({"above": 0.9}, [0.5, 0.9, 0.91, 1.0], 3, "val/x is 0.91, above 0.9", "stopped"),
        ({"below": 0.1}, [0.5, 0.1, math.nan, 0.05], 4, "val/x is 0.05, below 0.1", "stopped"),
        (
            {"times_best": 3},
            [2.0, 1.0, 3.0, 3.1],
            4,
            "val/x is 3.1, more than 3 times its smallest, 1 at step 2",
            "diverged",
        ),
        ({"times_best": 3}, [1.0, math.inf], 2, "val/x is inf", "diverged"),
    ],
)
def test_a_value_beyond_its_threshold_stops_the_run(
    options: dict[str, Any], values: list[float], step: int, reason: str, status: str
) -> None:
    run = script(StopAt("val/x", **options), [{"val/x": one} for one in values], epoch_steps=1)

    assert run.outcome is not None
    assert (run.outcome.step, run.outcome.reason) == (step, reason)
    assert run.outcome.status.value == status


def test_a_loss_that_is_never_positive_is_compared_with_nothing() -> None:
    values = [{"val/x": value} for value in (-1.0, 5.0, 50.0)]

    assert not script(StopAt("val/x", times_best=2), values, epoch_steps=1).stopped


def test_a_value_needs_no_hook_of_a_step() -> None:
    assert set(ScriptedRun(StopAt("val/x", above=1)).callbacks.table()) == {"on_log"}


@pytest.mark.parametrize(
    "options",
    [
        {"monitor": "val/x"},
        {"above": 1.0},
        {"monitor": "val/x", "times_best": 1.0},
        {"monitor": "val/x", "below": math.nan},
    ],
)
def test_a_value_has_a_threshold_and_a_threshold_a_value(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        StopAt(**options)


def test_a_real_run_stops_at_a_loss() -> None:
    task = tiny_regression()
    result = task.trainer(callbacks=[StopAt("train/loss", below=0.5)]).fit(task.train, epochs=50)

    assert result.outcome.asked_by == "stop_at"
    losses = result.history.values("train/loss")
    assert losses[-1] < 0.5 <= min(losses[:-1])


@pytest.mark.parametrize(
    "options", [{}, {"step": 0}, {"epoch": -1}, {"date": "tomorrow"}, {"seconds": float("nan")}]
)
def test_what_is_no_limit_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        StopAt(**options)
