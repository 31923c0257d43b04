"""A recorder hears every hook, and says in a few words what came."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trackside.history import Record
from trackside.lifecycle.hooks import HOOKS, Callback, event
from trackside.outcome import Outcome, Status
from trackside.run import Evaluation, Run
from trackside.testing import Recorder, ScriptedRun, script
from trackside.testing.recording import summary


class Drawing(Callback[Run]):
    @event
    def on_sample_drawn(self, run: Run, number: int, *, colour: str = "red") -> None: ...


def test_a_recorder_overrides_every_hook_of_the_table() -> None:
    assert {name for name in vars(Recorder) if name.startswith("on_")} == set(HOOKS)


def test_the_events_of_a_run_are_kept_in_order_with_the_steps_done() -> None:
    recorder = Recorder()
    script(recorder, [{"train/loss": 1.0}], epoch_steps=2)

    assert recorder.names[0] == "on_attach"
    assert recorder.names[-1] == "on_close"
    assert [event.step for event in recorder.of("on_step_end")] == [1, 2]
    assert recorder.of(Callback.on_close)[0].arguments[0].startswith("completed at step 2")


def test_a_custom_event_is_heard_when_it_is_asked_for() -> None:
    recorder, deaf = Recorder(also=[Drawing.on_sample_drawn]), Recorder()
    deaf.name = "deaf"

    script([recorder, deaf], lambda run: run.emit(Drawing.on_sample_drawn, 3, colour="blue"))

    assert [str(e) for e in recorder.of("on_sample_drawn")] == ["on_sample_drawn(3, colour='blue')"]
    assert deaf.of("on_sample_drawn") == []


def test_the_tree_is_indented_by_spans() -> None:
    recorder = Recorder()
    script(recorder, lambda run: run.tell_epoch({}, steps=1))

    lines = recorder.tree().splitlines()
    assert "on_fit_start()" in lines
    assert "  on_epoch_start()" in lines
    assert "      on_step_start()" in lines
    assert "      on_step_end()" in lines
    assert lines[-1].startswith("on_close(")


def test_a_recorder_forgets_when_told() -> None:
    recorder = Recorder()
    script(recorder, [{}])
    recorder.clear()

    assert recorder.events == []


def test_a_recorder_checks_its_own_events() -> None:
    recorder = Recorder()
    outcome = ScriptedRun(recorder).play([{"val/loss": 1.0}])

    recorder.check(outcome)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(2, 3), "float32 (2, 3)"),
        ([torch.zeros(2), torch.zeros(2, dtype=torch.int64)], "list(float32 (2,), int64 (2,))"),
        ([1, 2, 3, 4, 5], "list(1, 2, 3, 4, ...)"),
        ({"x": torch.zeros(1)}, "{x: float32 (1,)}"),
        (0.1 + 0.2, "0.3"),
        (None, "None"),
        (Evaluation("val"), "val"),
        (Evaluation("val", metrics={"val/loss": 1.0}), "val {val/loss: 1}"),
        (Record({"lr/0": 0.5}, 1, 0, 8, 0.1), "{lr/0: 0.5}"),
        (Outcome(Status.STOPPED, "enough", "me", 3), "stopped at step 3: enough, asked by me"),
        (ValueError("bad"), "ValueError: bad"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (object(), "object"),
    ],
)
def test_a_summary_says_what_a_value_is(value: Any, said: str) -> None:
    assert summary(value) == said
