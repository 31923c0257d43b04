from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from trackside import Callback, Evaluation, Run
from trackside.callbacks.evaluation.sanity_check import SanityCheck
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.testing import tiny_regression


def test_a_broken_evaluation_is_found_before_the_first_step() -> None:
    task = tiny_regression()
    broken = TensorDataset(torch.full((4, 2), float("nan")), torch.zeros(4, 1))
    with pytest.raises(NonFiniteError, match="batch 1 of 'val' is nan before the first step"):
        task.trainer(callbacks=[SanityCheck()]).fit(task.train, broken, epochs=1)


def test_training_is_bitwise_what_it_is_without_the_check() -> None:
    plain, checked = tiny_regression(), tiny_regression()
    plain.trainer().fit(plain.train, plain.validation, epochs=2)
    checked.trainer(callbacks=[SanityCheck()]).fit(checked.train, checked.validation, epochs=2)

    assert torch.equal(plain.weights, checked.weights)


def test_no_batches_are_no_check() -> None:
    with pytest.raises(ConfigurationError, match="batches=0"):
        SanityCheck(batches=0)


class Hearing(Callback):
    """Notes each evaluation, with its flag, and what it logged."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bool, int]] = []

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self.heard.append(("start", evaluation.sanity, run.progress.steps_completed))

    def on_evaluation_batch_end(
        self, run: Run, evaluation: Evaluation, batch: Any, output: Any
    ) -> None:
        self.heard.append(("batch", evaluation.sanity, run.progress.steps_completed))

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        run.log("seen", 1.0)
        self.heard.append(("end", evaluation.sanity, run.progress.steps_completed))


def test_callbacks_hear_of_the_check_as_of_an_evaluation_that_is_flagged() -> None:
    task = tiny_regression()
    hearing = Hearing()
    trainer = task.trainer(callbacks=[hearing, SanityCheck(batches=1, hooks=True)])
    history = trainer.fit(task.train, task.validation, epochs=1).history

    assert hearing.heard[:3] == [("start", True, 0), ("batch", True, 0), ("end", True, 0)]
    assert not any(flagged for _, flagged, _ in hearing.heard[3:])
    assert history.values("val/seen") == [1.0]


def test_without_hooks_nobody_hears_of_the_check() -> None:
    task = tiny_regression()
    hearing = Hearing()
    trainer = task.trainer(callbacks=[hearing, SanityCheck()])
    trainer.fit(task.train, task.validation, epochs=1)

    assert not any(flagged for _, flagged, _ in hearing.heard)


def test_training_is_bitwise_the_same_when_callbacks_hear_of_the_check() -> None:
    plain, checked = tiny_regression(), tiny_regression()
    plain.trainer().fit(plain.train, plain.validation, epochs=2)
    trainer = checked.trainer(callbacks=[SanityCheck(hooks=True)])
    trainer.fit(checked.train, checked.validation, epochs=2)

    assert torch.equal(plain.weights, checked.weights)
