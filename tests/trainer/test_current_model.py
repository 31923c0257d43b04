"""The attribute `model` of a trainer, outside of its runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.testing import tiny_regression


def zeros() -> nn.Linear:
    model = nn.Linear(2, 1)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("by_function", [False, True])
def test_another_model_takes_the_place_of_the_one_that_was_trained(by_function: bool) -> None:
    task = tiny_regression()
    trainer = task.trainer()
    trainer.fit(task.train, epochs=2)
    trained = trainer.evaluate(task.validation)

    trainer.model = zeros if by_function else zeros()

    targets = torch.cat([target for _, target in task.validation])
    found = trainer.evaluate(task.validation)["test/loss"]
    assert found == pytest.approx(float((targets**2).mean()))
    assert found != trained["test/loss"]


def test_the_same_model_given_again_changes_nothing() -> None:
    task = tiny_regression()
    trainer = task.trainer()
    trainer.fit(task.train, epochs=2)
    trained = trainer.evaluate(task.validation)

    trainer.model = task.model

    assert trainer.evaluate(task.validation) == trained
