"""BatchLimit shortens epochs and evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.callbacks.broken_runs import check_resumes_exactly
from trackside import Callback, Trainer
from trackside.callbacks.scheduling.batch_limit import BatchLimit
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression


class Evaluated(Callback):
    def __init__(self) -> None:
        self.batches: dict[str, int] = {}

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        self.batches[evaluation.name] = evaluation.batches_completed


def test_an_epoch_ends_after_so_many_batches_and_counts_as_whole() -> None:
    task = tiny_regression(samples=20)
    result = task.trainer(callbacks=[BatchLimit(train=2)]).fit(task.train, epochs=3)

    assert result.outcome.step == 6
    assert result.history[-1].epoch == 3
    assert result.history[-1].samples == 24


def test_the_run_knows_its_length() -> None:
    totals: list[Any] = []

    class Total(Callback):
        def on_fit_start(self, run: Run) -> None:
            totals.extend([run.limit.total_steps, run.limit.epoch_samples])

    task = tiny_regression(samples=20)
    task.trainer(callbacks=[BatchLimit(train=2), Total()]).fit(task.train, epochs=3)

    assert totals == [6, 8]


@pytest.mark.parametrize(
    ("limit", "batches"),
    [
        (2, {"val": 2, "other": 2}),
        ({"other": 1}, {"val": 3, "other": 1}),
        (9, {"val": 3, "other": 3}),
    ],
    ids=str,
)
def test_evaluations_are_limited_all_or_by_name(limit: Any, batches: dict[str, int]) -> None:
    task, evaluated = tiny_regression(samples=20), Evaluated()
    trainer = task.trainer(callbacks=[BatchLimit(evaluation=limit), evaluated])
    trainer.fit(task.train, {"val": task.validation, "other": task.validation}, steps=1)

    assert evaluated.batches == batches


def test_data_that_does_not_tell_its_length_is_limited_too() -> None:
    task = tiny_regression()

    class Endless:
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield from task.train

    result = task.trainer(callbacks=[BatchLimit(train=3)]).fit(Endless(), epochs=2)

    assert result.outcome.step == 6


def test_a_resumed_run_ends_its_epochs_at_the_same_batches() -> None:
    def make(more: list[Callback]) -> Trainer:
        limit = BatchLimit(train=3, evaluation=1)
        return tiny_regression(samples=20).trainer(callbacks=[limit, *more])

    task = tiny_regression(samples=20)
    check_resumes_exactly(make, lambda t: t.fit(task.train, task.validation, epochs=3))


def test_data_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[BatchLimit(evaluation={"vall": 2})])

    with pytest.raises(ConfigurationError, match="did you mean `val`"):
        trainer.fit(task.train, task.validation, steps=1)


@pytest.mark.parametrize(
    "options", [{"train": 0}, {"evaluation": {"val": -1}}, {"train": 1.5}, {"evaluation": 0}]
)
def test_limits_that_are_no_counts_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError) as info:
        BatchLimit(**options)
    assert info.value.option in options


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="limit nothing"):
        BatchLimit()
