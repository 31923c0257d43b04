"""A scripted run is the real loop over steps that compute nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from trackside.callbacks import Checkpoint
from trackside.errors import StopTraining
from trackside.lifecycle.hooks import Callback, event
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.outcome import Status
from trackside.run import Run
from trackside.testing import Recorder, ScriptedRun, SpyCallback, script, tiny_regression

STORY = [{"train/loss": 1.0, "val/loss": 0.5}, {"train/loss": 0.8, "val/loss": 0.6}]


class StopsAtWorse(Callback[Run]):
    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        if (run.history.values("val/loss") or [0])[-1] > 0.55:
            raise StopTraining("val/loss is worse")


def test_what_watches_and_checks_a_run_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "sys.modules.update(torch=None, numpy=None)\n"
        "from trackside.testing import Recorder, SpyCallback, check_grammar\n"
        "print(Recorder().names, SpyCallback().counts, check_grammar([]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("[] Counter() None\n", "")


def test_a_scripted_run_fires_what_a_real_one_fires() -> None:
    task, real, told = tiny_regression(), Recorder(), Recorder()
    task.trainer(callbacks=[real]).fit(task.train, task.validation, epochs=2)
    script(told, [{"train/loss": 1.0, "val/loss": 0.5}] * 2, epoch_steps=3)

    # The real evaluation has two batches, the scripted one has one; a script records each step.
    skipped = {"on_log", "on_measure", "on_evaluation_batch_start", "on_evaluation_batch_end"}
    assert [n for n in told.names if n not in skipped] == [
        n for n in real.names if n not in skipped
    ]


def test_an_epoch_that_is_told_step_by_step_is_one_that_is_told_as_a_whole() -> None:
    def story(run: ScriptedRun) -> None:
        for _ in range(4):
            run.tell_step({"loss": 0.0})

    whole, by_steps = Recorder(), Recorder()
    expected, run = script(whole, [{}]), script(by_steps, story)

    assert by_steps.names == whole.names
    assert list(run.history) == list(expected.history)
    assert run.progress.state_dict() == expected.progress.state_dict()


def test_a_script_goes_on_where_the_loop_goes_back_to() -> None:
    def story(run: ScriptedRun) -> None:
        told.append(run.progress.steps_completed)
        for _ in range(6):
            run.tell_step()

    told: list[int] = []
    ask = SpyCallback("on_step_end", lambda run: run.roll_back("a spike"), when=4)
    run = script([Checkpoint(every="2 steps"), ask], story)

    assert told == [0]
    assert [(back.from_step, back.to_step) for back in run.rollbacks] == [(4, 2)]


def test_metrics_of_a_story_become_history_and_epochs_are_counted() -> None:
    run = script(Recorder(), STORY)

    assert run.history.values("val/loss") == [0.5, 0.6]
    assert run.history.values("train/loss") == [1.0, 0.8]
    assert run.progress.epochs_completed == 2
    assert run.progress.steps_completed == 8
    assert run.progress.samples_completed == 64
    assert run.progress.seconds == 8.0


def test_nothing_is_heard_after_a_stop() -> None:
    run = script(StopsAtWorse(), [*STORY, {"val/loss": 0.1}])

    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.reason) == (Status.STOPPED, "val/loss is worse")
    assert run.outcome.asked_by == "stops_at_worse"
    assert run.progress.epochs_completed == 2
    assert run.history.values("val/loss") == [0.5, 0.6]


@pytest.mark.parametrize("hook", ["on_fit_start", "on_step_end", "on_epoch_start", "on_log"])
def test_a_stop_closes_all_spans(hook: str) -> None:
    run = script(SpyCallback(hook, StopTraining), STORY)

    assert run.stopped
    run.recorder.check(run.outcome)


def test_an_error_of_the_story_closes_the_callbacks_and_comes_out() -> None:
    spy = SpyCallback()

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        script(spy, story)
    assert (spy.counts["on_exception"], spy.counts["on_close"]) == (1, 1)
    assert spy.counts["on_fit_end"] == 0


def test_what_a_callback_logs_becomes_a_record() -> None:
    spy = SpyCallback("on_batch_end", lambda run, *_: run.log("grad", 2.0), when=None)
    run = script(spy, [{"train/loss": 1.0}], epoch_steps=2)

    assert run.history.values("train_recent/grad") == [2.0, 2.0]
    assert run.history.values("train/grad") == [2.0]


def test_requests_are_taken_and_can_be_looked_at() -> None:
    def ask(run: Run) -> None:
        run.save("because")
        run.evaluate("test")

    run = script(SpyCallback("on_step_end", ask), [{}])

    assert [(r.reason, r.asked_by) for r in run.saves] == [("because", "spy_callback")]
    assert run.evaluations == ["test"]
    assert list(run.requests) == []


def test_a_schedule_can_be_tried_in_milliseconds() -> None:
    due = []

    class Beat(PeriodicCallback[Run]):
        def on_due(self, run: Run) -> None:
            due.append(run.progress.steps_completed)

    script(Beat("3 steps"), [{}, {}], epoch_steps=5)
    script(Beat("20 seconds"), [{}], epoch_steps=5, seconds=7.0)

    assert due == [3, 6, 9, 3]


def test_a_story_may_fire_any_hook_and_custom_events() -> None:
    class Paint(Callback[Run]):
        drawn = 0

        @event
        def on_brush(self, run: Run) -> None: ...

    class Painter(Paint):
        def on_brush(self, run: Run) -> None:
            self.drawn += 1

    painter = Painter()
    script(painter, lambda run: run.fire(Paint.on_brush))

    assert painter.drawn == 1


def test_a_story_that_no_run_could_tell_is_refused() -> None:
    from trackside.testing import GrammarError

    with pytest.raises(GrammarError, match="on_epoch_end"):
        script(Recorder(), lambda run: run.fire(Callback.on_epoch_end, {}))


def test_a_context_is_entered_and_left_around_each_step_and_evaluation() -> None:
    spy = SpyCallback("step_context", counts=("evaluation_context",))
    script(spy, [{"val/loss": 1.0}], epoch_steps=3)

    assert spy.counts == {"step_context": 3, "evaluation_context": 1}
