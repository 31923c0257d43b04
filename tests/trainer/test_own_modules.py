"""Modules that a trainer keeps as attributes are among its run's models, or it is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from trackside import Run, Trainer
from trackside.testing import tiny_regression
from trackside.testing.tasks import Task


class Keeps(Trainer):
    """A trainer with a second module, wherever a test puts it."""

    def training_step(self, run: Run, batch: Any) -> Any:
        return run.model(batch[0]).pow(2).mean()


def fitted(task: Task, caplog: pytest.LogCaptureFixture, **attributes: Any) -> list[Any]:
    trainer = Keeps(task.model, optimizer=task.optimizer, defaults=False)
    for name, value in attributes.items():
        setattr(trainer, name, value)
    with caplog.at_level(logging.INFO, "trackside"):
        trainer.fit(task.train, steps=1)
    return [one for one in caplog.records if "not among the run's models" in one.message]


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False).eval()


@pytest.mark.parametrize(
    ("attributes", "named", "level"),
    [
        ({"head": nn.Linear(2, 1)}, "`Keeps.head`", logging.WARNING),
        ({"_head": nn.Linear(2, 1)}, "`Keeps._head`", logging.WARNING),
        ({"heads": [nn.Linear(2, 1)]}, "`Keeps.heads[0]`", logging.WARNING),
        ({"heads": {"a": nn.Linear(2, 1)}}, "`Keeps.heads['a']`", logging.WARNING),
        ({"teacher": frozen(nn.Linear(2, 1))}, "`Keeps.teacher`", logging.INFO),
        ({"norm": nn.BatchNorm1d(2, affine=False)}, "`Keeps.norm`", logging.INFO),
    ],
)
def test_a_module_that_the_run_does_not_know_is_named(
    attributes: Any, named: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    [record] = fitted(tiny_regression(), caplog, **attributes)
    assert named in record.message
    assert record.levelno == level


def test_a_module_that_the_run_knows_or_that_keeps_nothing_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = tiny_regression()
    assert not fitted(task, caplog, same=task.model, relu=nn.ReLU(), number=3, parts=[task.model])


def test_a_module_that_is_returned_from_configure_model_is_trained_moved_and_saved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Returns(Keeps):
        def configure_model(self, run: Run) -> Any:
            self.head = nn.Linear(2, 1)
            return {"model": self.model, "head": self.head}

        def configure_optimizers(self, run: Run) -> Any:
            parameters = [*run.models["model"].parameters(), *run.models["head"].parameters()]
            return torch.optim.SGD(parameters, lr=0.1)

    task = tiny_regression()
    with caplog.at_level(logging.INFO, "trackside"):
        Returns(task.model, defaults=False).fit(task.train, steps=1)
    assert not [one for one in caplog.records if "not among the run's models" in one.message]
