"""Modes that the user set stay; others are the loop's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import SGD
from torch.utils.data import TensorDataset

from tests.device import same
from trackside import Trainer
from trackside.callbacks import LoadWeights, Unfreeze
from trackside.step.modes import begin_training


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)), nn.Linear(8, 1)
    )


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


DATA = TensorDataset(torch.randn(16, 4) * 5 + 3, torch.randn(16, 1))


def fit(model: nn.Module, *callbacks: Any) -> nn.Module:
    trainer = Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=0.01),
        callbacks=callbacks,
        defaults=False,
    )
    trainer.fit(DATA, DATA, epochs=2)
    return trainer.models["model"]


@pytest.mark.parametrize("part", ["0", "0.1", "0.2", "1"])
def test_a_part_in_evaluation_mode_stays_so(part: str) -> None:
    model = net()
    model.get_submodule(part).eval()
    before = modes(model)
    begin_training({"model": model})
    assert modes(model) == before


def test_a_model_in_evaluation_mode_is_trained_whole() -> None:
    model = net().eval()
    begin_training({"model": model})
    assert all(modes(model).values())


def test_a_train_method_of_the_model_is_called() -> None:
    class Own(nn.Linear):
        def train(self, mode: bool = True) -> Own:
            self.called = mode
            return super().train(mode)

    model = Own(2, 2)
    begin_training({"model": model})
    assert model.called


def test_running_statistics_of_a_frozen_backbone_stay_through_fit_and_evaluations() -> None:
    model = net()
    model[0].requires_grad_(False).eval()
    fit(model)
    assert modes(model)["0.1"] is False
    assert same(model[0][1].running_mean, torch.zeros(8))  # type: ignore[index]


def test_running_statistics_of_loaded_weights_that_are_frozen_stay(tmp_path: Path) -> None:
    backbone, file = net()[0], tmp_path / "backbone.safetensors"
    backbone.train()(DATA.tensors[0])
    save_file(backbone.state_dict(), file)
    model = net()
    fit(model, LoadWeights(file, rename={"": "0."}, strict=False, freeze=True))
    assert all(same(model[0].state_dict()[name], kept) for name, kept in load_file(file).items())


def test_running_statistics_of_a_group_that_is_never_unfrozen_stay() -> None:
    model = net()
    fit(model, Unfreeze({"0.*": None}))
    assert same(model[0][1].running_mean, torch.zeros(8))  # type: ignore[index]


@pytest.mark.parametrize(
    ("frozen", "level"), [(True, logging.INFO), (False, logging.WARNING)], ids=["frozen", "trained"]
)
def test_a_mode_that_is_kept_is_said_and_warned_of_where_it_is_trained(
    frozen: bool, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = net()
    model[0].requires_grad_(not frozen).eval()
    with caplog.at_level(logging.INFO, "trackside"):
        begin_training({"model": model})
    told = [(r.levelno, r.getMessage()) for r in caplog.records]
    assert told[0][0] == level
    assert told[0][1].startswith("model.0: evaluation mode is kept")
