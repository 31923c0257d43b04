"""A second run of a module is said to go on with its weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.utils.data import TensorDataset

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint

DATA = TensorDataset(torch.randn(8, 2), torch.randn(8, 1))


def make(model: Any, **options: Any) -> Trainer:
    return Trainer(
        model, loss=nn.MSELoss(), optimizer=lambda p: SGD(p, lr=0.1), defaults=False, **options
    )


def times_told(caplog: pytest.LogCaptureFixture) -> int:
    return sum("trained in an earlier run" in r.getMessage() for r in caplog.records)


def test_each_fold_after_the_first_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    trainer = make(nn.Linear(2, 1))
    for _ in range(3):
        trainer.fit(DATA, epochs=1)
    assert times_told(caplog) == 2


def test_a_module_in_another_trainer_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(2, 1)
    for _ in range(2):
        make(model).fit(DATA, epochs=1)
    assert times_told(caplog) == 1


def test_a_function_and_a_run_without_steps_are_not(caplog: pytest.LogCaptureFixture) -> None:
    trainer, model = make(lambda: nn.Linear(2, 1)), nn.Linear(2, 1)
    for _ in range(2):
        trainer.fit(DATA, epochs=1)
    make(model).fit(DATA, steps=0)
    make(model).fit(DATA, epochs=1)
    assert times_told(caplog) == 0


def test_a_resumed_run_is_not(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    options = {"callbacks": [Checkpoint()], "settings": Settings(directory=tmp_path)}
    trainer = make(nn.Linear(2, 1), **options)
    trainer.fit(DATA, epochs=1)
    trainer.fit(DATA, epochs=2, resume="auto")
    assert times_told(caplog) == 0
