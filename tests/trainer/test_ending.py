"""Requests that nothing takes are told of."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from trackside import Callback, Run
from trackside.testing import tiny_regression


class Asks(Callback):
    """Asks for all that a callback can ask for, in each batch."""

    def on_evaluation_batch_end(self, run: Run, evaluation: Any, batch: Any, output: Any) -> None:
        self._ask(run)

    def on_predict_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self._ask(run)

    def _ask(self, run: Run) -> None:
        if run.mode != "fit":
            run.save("enough")
            run.end_epoch("enough")


@pytest.mark.parametrize("mode", ["evaluate", "predict"])
def test_a_request_that_this_kind_of_run_does_not_take_is_told_of_once(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[Asks()])

    with caplog.at_level(logging.WARNING, logger="trackside"):
        getattr(trainer, mode)(task.validation)

    assert [record.getMessage() for record in caplog.records] == [
        f"asks asked for `{kind}`, which was not done: `{mode}` takes requests to stop only"
        for kind in ("save", "end_epoch")
    ]


def test_requests_that_training_takes_are_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    class EndsEarly(Callback):
        def on_step_end(self, run: Run) -> None:
            run.end_epoch("enough")
            run.evaluate("val", "why not")
            run.stop("enough")

    task = tiny_regression()

    with caplog.at_level(logging.WARNING, logger="trackside"):
        task.trainer(callbacks=[EndsEarly()]).fit(task.train, task.validation, epochs=2)

    assert "not done" not in caplog.text
