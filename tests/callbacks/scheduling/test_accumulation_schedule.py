"""AccumulationSchedule changes how many batches make a step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.callbacks.broken_runs import check_resumes_exactly
from trackside import Callback, Trainer
from trackside.callbacks.scheduling.accumulation_schedule import AccumulationSchedule
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression


class Batches(Callback):
    """Batches of each step."""

    def __init__(self) -> None:
        self.per_step: list[int] = []
        self.total: int | None = 0

    def on_fit_start(self, run: Run) -> None:
        self.total = run.limit.total_steps

    def on_step_start(self, run: Run) -> None:
        self.per_step.append(0)

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.per_step[-1] += 1


def fit(schedule: AccumulationSchedule, **options: Any) -> Batches:
    task, batches = tiny_regression(samples=16), Batches()
    trainer = task.trainer(callbacks=[schedule, batches], **options)
    trainer.fit(task.train, epochs=3)
    return batches


def test_epochs_have_the_batches_per_step_of_the_schedule() -> None:
    batches = fit(AccumulationSchedule({1: 2, 2: 3}))

    assert batches.per_step == [1, 1, 1, 1, 2, 2, 3, 1]


def test_before_the_first_entry_the_trainers_own_number_applies() -> None:
    assert fit(AccumulationSchedule({2: 1}), accumulate=4).per_step == [4, 4, 1, 1, 1, 1]


def test_it_can_count_steps() -> None:
    assert fit(AccumulationSchedule({0: 1, 3: 2}, unit="steps")).per_step == [
        *[1, 1, 1, 1],
        *[2, 2],
        *[2, 2],
    ]


def test_the_number_of_steps_is_no_longer_known() -> None:
    assert fit(AccumulationSchedule({1: 2})).total is None


def test_a_resumed_run_goes_on_with_the_batches_per_step_of_the_schedule() -> None:
    def make(more: list[Callback]) -> Trainer:
        return tiny_regression().trainer(callbacks=[AccumulationSchedule({1: 2, 2: 3}), *more])

    task = tiny_regression(samples=22)
    check_resumes_exactly(make, lambda t: t.fit(task.train, task.validation, epochs=3))


@pytest.mark.parametrize("batches", [{}, {0: 0}, {-1: 2}, {0: 1.5}, {"0": 1}, {0: True}], ids=str)
def test_what_is_no_count_is_refused(batches: Any) -> None:
    with pytest.raises(ConfigurationError):
        AccumulationSchedule(batches)
