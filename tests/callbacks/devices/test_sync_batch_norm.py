"""SyncBatchNorm replaces batch norms where there is somebody to share with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.device import same
from trackside import Callback, Trainer
from trackside.callbacks.devices.sync_batch_norm import SyncBatchNorm
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_classification


class OfTwo:
    """A world of two ranks, as far as its size goes."""

    size = 2
    rank = 0
    is_global_zero = True


class Pretending(Callback):
    """Lets the run believe in another world until it is configured."""

    runs_before = (SyncBatchNorm,)

    def __init__(self, device: str) -> None:
        self.device = device

    def on_configure_end(self, run: Run) -> None:
        self.kept = run.world, run.device
        run.world, run.device = OfTwo(), torch.device(self.device)  # type: ignore[assignment]


class Afterwards(Callback):
    runs_after = (SyncBatchNorm,)

    def __init__(self, pretending: Pretending) -> None:
        self.pretending = pretending
        self.held = False

    def on_configure_end(self, run: Run) -> None:
        run.world, run.device = self.pretending.kept

    def on_optimizers_ready(self, run: Run) -> None:
        own = {id(parameter) for parameter in run.model.parameters()}
        groups = run.optimizer.param_groups
        self.held = own == {id(p) for group in groups for p in group["params"]}


def test_batch_norms_are_replaced_with_their_weights_before_the_optimizer_is_made() -> None:
    task, pretending = tiny_classification(), Pretending("meta")
    afterwards = Afterwards(pretending)
    before = task.weights
    task.trainer(callbacks=[pretending, SyncBatchNorm(), afterwards]).fit(task.train, steps=0)

    assert isinstance(task.model[1], nn.SyncBatchNorm)  # type: ignore[index]
    assert same(task.weights, before)
    assert afterwards.held


def test_on_one_rank_nothing_is_replaced() -> None:
    task = tiny_classification()
    task.trainer(callbacks=[SyncBatchNorm()]).fit(task.train, steps=1)

    assert type(task.model[1]) is nn.BatchNorm1d  # type: ignore[index]


def test_ranks_on_the_cpu_are_refused_with_another_way() -> None:
    task = tiny_classification()
    trainer = task.trainer(callbacks=[Pretending("cpu"), SyncBatchNorm()])

    with pytest.raises(ConfigurationError, match="GroupNorm or LayerNorm"):
        trainer.fit(task.train, steps=1)


def test_a_model_without_batch_norm_trains_on_any_device() -> None:
    model: Any = nn.Linear(4, 3)
    task, pretending = tiny_classification(), Pretending("cpu")
    callbacks = [pretending, SyncBatchNorm(), Afterwards(pretending)]
    trainer = Trainer(
        model, loss=task.loss, optimizer=task.optimizer, callbacks=callbacks, defaults=False
    )
    assert trainer.fit(task.train, steps=1).outcome.step == 1
