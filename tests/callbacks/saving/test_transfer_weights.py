"""TransferWeights copies weights between two models of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from tests.device import same
from trackside import Callback, Run, Trainer
from trackside.callbacks.saving.transfer_weights import TransferWeights
from trackside.checkpoint import StateMismatchError
from trackside.errors import ConfigurationError, UnknownModelError
from trackside.testing import tiny_regression


class Pair(Trainer):
    """A teacher that stays, and a student that learns."""

    def configure_model(self, run: Run) -> Mapping[str, nn.Module]:
        return {"student": nn.Linear(2, 1), "teacher": nn.Linear(2, self.metrics_width)}

    metrics_width = 1

    def configure_optimizers(self, run: Run) -> Any:
        return torch.optim.SGD(run.models["student"].parameters(), lr=0.1)

    def training_step(self, run: Run, batch: Any) -> Any:
        student: nn.Module = run.models["student"]
        return nn.functional.mse_loss(student(batch[0]), batch[1])


class Weights(Callback):
    """Looks at both models when training begins."""

    def on_fit_start(self, run: Run) -> None:
        self.student = run.models["student"].state_dict()["weight"].clone()
        self.teacher = run.models["teacher"].state_dict()["weight"].clone()


def fit(kind: type[Trainer], *callbacks: Callback) -> Trainer:
    trainer = kind(callbacks=callbacks, defaults=False, seed=0)
    trainer.fit(tiny_regression().train, steps=2)
    return trainer


def test_a_student_begins_as_its_teacher() -> None:
    seen = Weights()
    fit(Pair, seen, TransferWeights("teacher", "student"))

    assert torch.equal(seen.student, seen.teacher)


def test_both_are_models_of_their_own_afterwards() -> None:
    seen = Weights()
    trainer = fit(Pair, seen, TransferWeights("teacher", "student"))

    assert same(trainer.models["teacher"].state_dict()["weight"], seen.teacher)
    assert not same(trainer.models["student"].state_dict()["weight"], seen.teacher)


def test_weights_that_are_frozen_are_not_trained() -> None:
    seen = Weights()
    copied = TransferWeights("teacher", "student", rename={"bias": None}, strict=False, freeze=True)
    trainer = fit(Pair, seen, copied)

    assert same(trainer.models["student"].state_dict()["weight"], seen.teacher)


def test_weights_that_do_not_fit_are_refused() -> None:
    class Other(Pair):
        metrics_width = 3

    with pytest.raises(StateMismatchError, match="the weights in the model 'teacher' don't fit"):
        fit(Other, TransferWeights("teacher", "student"))


def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownModelError, match="'teecher'"):
        fit(Pair, TransferWeights("teecher", "student"))


def test_source_and_target_are_two_models() -> None:
    with pytest.raises(ConfigurationError, match="the same model"):
        TransferWeights("student", "student")
