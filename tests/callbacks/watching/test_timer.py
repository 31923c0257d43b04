from __future__ import annotations

import pytest

from trackside.callbacks.watching import timer
from trackside.callbacks.watching.timer import Timer
from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation
from trackside.testing import ScriptedRun, script, tiny_regression


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timer, "perf_counter", clock)
    return clock


def test_a_step_is_timed_in_the_mean_and_without_evaluations(clock: Clock) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.data_wait_seconds += 0.5
        clock.now += 3.0
        run.fire(Callback.on_evaluation_start, Evaluation("val"))
        clock.now += 10.0
        run.fire(Callback.on_evaluation_end, Evaluation("val"))
        run.tell_step()

    run = script(Timer(), story)

    assert run.history.latest("time/step_seconds") == 1.5
    assert run.history.latest("time/data_wait_seconds") == 0.25
    assert 0.0 <= (run.history.latest("time/callbacks_share") or 0.0) < 1.0
    assert run.history.latest("time/evaluation_seconds") == 10.0


def test_an_epoch_is_timed_with_its_evaluations(clock: Clock) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        clock.now += 7.0

    assert script(Timer(), story).history.latest("time/epoch_seconds") == 7.0


def test_a_real_run_records_all_times() -> None:
    task = tiny_regression()

    result = task.trainer(callbacks=[Timer()]).fit(task.train, task.validation, epochs=1)

    assert {name for name in result.history.names if name.startswith("time/")} == {
        "time/step_seconds",
        "time/data_wait_seconds",
        "time/callbacks_share",
        "time/evaluation_seconds",
        "time/epoch_seconds",
    }


def test_an_evaluation_by_itself_is_no_error() -> None:
    task = tiny_regression()

    assert task.trainer(callbacks=[Timer()]).evaluate(task.validation)


def test_no_hook_of_a_step_is_listened_to() -> None:
    listened = set(ScriptedRun(Timer()).callbacks.table())

    assert not {hook for hook in listened if "step" in hook or "batch" in hook}
