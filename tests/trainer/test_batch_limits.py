"""Limits of batches from outside of a program."""

from __future__ import annotations

import logging

import pytest

from trackside import limited_batches
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression
from trackside.trainer.batch_limits import VARIABLE


def steps_of_an_epoch() -> int:
    task = tiny_regression()
    return task.trainer().fit(task.train, task.validation, epochs=1).outcome.step


def test_a_variable_of_the_environment_limits_the_batches_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "2")

    assert steps_of_an_epoch() == 2


def test_a_context_limits_batches_inside_only() -> None:
    with limited_batches(1):
        inside = steps_of_an_epoch()

    assert (inside, steps_of_an_epoch()) == (1, 3)


def test_evaluations_are_limited_too() -> None:
    task = tiny_regression()
    whole = task.trainer().evaluate(task.validation)
    with limited_batches(1):
        limited = task.trainer().evaluate(task.validation)

    assert limited != whole


def test_predictions_are_not_limited() -> None:
    task = tiny_regression()
    with limited_batches(1):
        predictions = task.trainer().predict(task.validation)

    assert len(predictions) == len(task.validation.dataset)  # type: ignore[arg-type]


def test_a_limit_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with limited_batches(2), caplog.at_level(logging.WARNING, logger="trackside"):
        steps_of_an_epoch()

    assert "end after 2 batches, by `limited_batches`" in caplog.text


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_variable_that_limits_nothing_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)

    with pytest.raises(ConfigurationError, match=VARIABLE):
        steps_of_an_epoch()
