from __future__ import annotations

import pytest
import torch

from trackside.callbacks.watching import throughput
from trackside.callbacks.watching.throughput import Throughput
from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation
from trackside.testing import ScriptedRun, script


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput, "perf_counter", clock)
    return clock


def measured(run: ScriptedRun) -> dict[str, float]:
    values: dict[str, float] = {}
    run.fire(Callback.on_measure, values)
    return values


def test_rates_are_those_since_the_last_record(clock: Clock) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        clock.now += 1.0
        run.tell_step()
        clock.now += 2.0
        run.data_wait_seconds += 0.5
        run.tell_step()

    history = script(Throughput(), story, samples=8).history

    assert history.values("throughput/samples_per_second")[-2:] == [16.0, 4.0]
    assert history.values("throughput/steps_per_second")[-2:] == [2.0, 0.5]
    assert history.values("throughput/data_wait_share")[-2:] == [0.0, 0.25]


def test_the_time_of_an_evaluation_is_not_counted(clock: Clock) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        clock.now += 1.0
        run.fire(Callback.on_evaluation_start, Evaluation("val"))
        clock.now += 10.0
        run.fire(Callback.on_evaluation_end, Evaluation("val"))
        assert measured(run)["throughput/steps_per_second"] == 1.0

    script(Throughput(), story)


def test_without_a_step_nothing_is_said(clock: Clock) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        clock.now += 1.0
        measured(run)
        assert measured(run) == {}

    script(Throughput(), story)


def test_tokens_are_counted_when_weights_are_tokens(clock: Clock) -> None:
    watch = Throughput(tokens=True)

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        clock.now += 1.0
        measured(run)
        for weight in (torch.tensor(30), 20.0):
            watch.on_batch_end(run, None, {"weight": weight})
        run.tell_step()
        clock.now += 2.0
        assert measured(run)["throughput/tokens_per_second"] == 25.0

    script(watch, story)


def test_tokens_of_ranks_that_have_different_ones_are_added(clock: Clock) -> None:
    watch = Throughput(tokens=True)

    class TwoRanks:
        rank, size, is_global_zero = 0, 1, True  # the run ends alone

        def all_reduce(self, x: float, op: str) -> float:
            assert op == "sum"
            return x + 100.0  # the other rank's

    def story(run: ScriptedRun) -> None:
        run.world = TwoRanks()  # type: ignore[assignment]
        run.tell_step()
        watch.on_batch_end(run, None, {"weight": 20.0})
        clock.now += 2.0
        assert measured(run)["throughput/tokens_per_second"] == 60.0

    script(watch, story)


def test_by_default_no_hook_of_a_step_is_listened_to() -> None:
    listened = set(ScriptedRun(Throughput()).callbacks.table())

    assert not {hook for hook in listened if "step" in hook or hook == "on_batch_end"}
