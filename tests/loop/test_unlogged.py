"""Monitors that nothing logs are told of, also beside callbacks that may log what they like."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from trackside import Callback, Evaluation, Run, on
from trackside.callbacks import BestCheckpoint, EarlyStopping
from trackside.testing import tiny_regression


class MayLogAnything(Callback[Run]):
    def on_fit_start(self, run: Run) -> None:
        pass


class LogsScore(Callback[Run]):
    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        run.log("score", 1.0)


def told(caplog: pytest.LogCaptureFixture, *callbacks: Callback[Any], **fit: Any) -> list[str]:
    task = tiny_regression()
    with caplog.at_level(logging.WARNING, "trackside"):
        task.trainer(callbacks=list(callbacks)).fit(task.train, task.validation, **fit)
    return [text for record in caplog.records if "watches" in (text := record.getMessage())]


def test_it_is_told_after_the_first_evaluation_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = told(caplog, EarlyStopping("val/f1"), MayLogAnything(), epochs=3)
    assert [text.partition(":")[0] for text in lines] == [
        "'early_stopping' watches 'val/f1', and nothing logged it in the evaluation of 'val'",
        "'early_stopping' watches 'val/f1', and nothing logged it in the whole run",
    ]


def test_one_of_no_evaluation_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    [line] = told(caplog, BestCheckpoint("train/f1"), MayLogAnything(), epochs=1)
    assert "in the whole run" in line


def test_one_that_is_logged_at_the_end_of_the_evaluation_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopping = EarlyStopping("val/score", patience=9)
    assert told(caplog, stopping, LogsScore(), epochs=2) == []


def stopping(at_step: int) -> Any:
    @on(Callback.on_step_end)
    def stops(run: Run) -> None:
        if run.progress.steps_completed == at_step:
            run.stop("enough")

    return stops


def test_a_run_that_was_stopped_before_an_evaluation_is_told_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchers = EarlyStopping("val/loss"), BestCheckpoint("train/loss")
    assert told(caplog, *watchers, MayLogAnything(), stopping(1), epochs=1) == []


def test_one_that_a_stopped_run_had_time_for_is_told(caplog: pytest.LogCaptureFixture) -> None:
    lines = told(caplog, BestCheckpoint("train/f1"), MayLogAnything(), stopping(9), epochs=9)
    assert len(lines) == 1
