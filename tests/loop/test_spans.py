"""Each span fires its start and its end from one place; how it ended says which end it has."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.loop.spans import EpochSpan, EvaluationSpan, FitSpan, PredictSpan, TrainEpochSpan
from trackside.loop.state import Ended, Training
from trackside.run import Evaluation
from trackside.testing import Recorder, ScriptedRun, SpyCallback, script
from trackside.testing.scripted_loop import Numbers, ScriptedLog, assemble


class Heard(Training):
    """A run under way that notes what it fires."""

    def __init__(self) -> None:
        numbers, run = Numbers(samples=8, seconds=1.0), ScriptedRun([])
        made = assemble(run, Dispatcher(run), numbers, ScriptedLog(numbers))
        super().__init__(made.setup, made.position)
        self.hooks: list[str] = []

    def fire(self, hook: Any, *args: Any) -> None:
        self.hooks.append(hook.__name__)
        if hook is Callback.on_epoch_end:
            self.run.stop("asked at the end", asked_by="a callback")


def heard(span: type[Any], ended: Ended, *args: Any) -> Heard:
    training = Heard()
    with span(training, *args) as under_way:
        under_way.ended = ended
    return training


@pytest.mark.parametrize("ended", [Ended.DATA, Ended.LIMIT, Ended.STOP, Ended.ROLLBACK])
def test_an_epoch_and_its_training_end_however_they_end(ended: Ended) -> None:
    assert heard(EpochSpan, ended).hooks == ["on_epoch_start", "on_epoch_end"]
    assert heard(TrainEpochSpan, ended).hooks == ["on_train_epoch_start", "on_train_epoch_end"]


def test_an_epoch_whose_evaluations_are_left_for_later_has_no_end_yet() -> None:
    assert heard(EpochSpan, Ended.OPEN).hooks == ["on_epoch_start"]


def test_only_data_that_came_to_its_end_completes_an_epoch() -> None:
    done = {one: heard(TrainEpochSpan, one).run.progress.epochs_completed for one in Ended}
    assert [one for one, count in done.items() if count] == [Ended.DATA]


def test_what_is_asked_at_the_end_of_an_epoch_that_is_trained_again_is_dropped() -> None:
    assert len(heard(EpochSpan, Ended.DATA).run.requests) == 1
    assert len(heard(EpochSpan, Ended.ROLLBACK).run.requests) == 0


def test_an_evaluation_that_is_stopped_has_no_end() -> None:
    start, end = "on_evaluation_start", "on_evaluation_end"
    assert heard(EvaluationSpan, Ended.DATA, Evaluation("val")).hooks == [start, end]
    assert heard(EvaluationSpan, Ended.STOP, Evaluation("val")).hooks == [start]


def test_training_and_prediction_have_one_start_and_one_end() -> None:
    assert heard(FitSpan, Ended.DATA).hooks == ["on_fit_start", "on_fit_end"]
    assert heard(PredictSpan, Ended.DATA).hooks == ["on_predict_start", "on_predict_end"]


def test_an_error_leaves_every_span_without_an_end() -> None:
    recorder = Recorder()
    with pytest.raises(StopIteration):
        script([recorder, SpyCallback("on_step_end", StopIteration)], [{}])

    ends = {"on_train_epoch_end", "on_epoch_end", "on_fit_end"}
    assert ends.isdisjoint(recorder.names)
