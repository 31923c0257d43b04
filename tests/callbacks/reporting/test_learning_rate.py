from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from trackside.callbacks.reporting.learning_rate import LearningRate
from trackside.errors import ConfigurationError
from trackside.step.optimization import Scheduler
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings


def test_each_record_holds_the_rate_that_the_next_step_uses() -> None:
    task = tiny_regression()
    halve = Scheduler(lambda optimizer: StepLR(optimizer, 1, gamma=0.5), interval="step")
    trainer = task.trainer(
        callbacks=[LearningRate()], scheduler=halve, settings=Settings(log_every="1 step")
    )

    result = trainer.fit(task.train, steps=3)

    assert result.history.values("lr/0")[:3] == [0.05, 0.025, 0.0125]


def test_other_settings_of_the_groups_are_recorded_too() -> None:
    task = tiny_regression()

    result = task.trainer(callbacks=[LearningRate(also=["momentum"])]).fit(task.train, epochs=1)

    assert result.history.latest("momentum/0") == 0.9


def test_a_setting_that_no_group_has_is_refused() -> None:
    task = tiny_regression()

    with pytest.raises(ConfigurationError, match="momentun"):
        task.trainer(callbacks=[LearningRate(also=["momentun"])]).fit(task.train, epochs=1)


def test_a_rate_that_is_a_tensor_is_recorded_as_a_number() -> None:
    task = tiny_regression()
    trainer = task.trainer(
        optimizer=lambda p: torch.optim.Adam(p, lr=torch.tensor(0.25)), callbacks=[LearningRate()]
    )

    assert trainer.fit(task.train, epochs=1).history.latest("lr/0") == 0.25


def test_groups_of_several_optimizers_have_the_optimizers_name() -> None:
    from trackside import Run

    run = Run("fit")
    values: dict[str, float] = {}
    parameter = nn.Parameter(torch.zeros(1))
    run.optimizers = {name: torch.optim.SGD([parameter], lr=0.5) for name in ("a", "b")}

    LearningRate().on_measure(run, values)

    assert values == {"lr/a/0": 0.5, "lr/b/0": 0.5}
