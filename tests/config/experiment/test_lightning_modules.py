"""A file whose model is a LightningModule needs no loss and no optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import trackside
from tests.config.files import write
from tests.dialects import lightning_modules as modules
from tests.dialects.lightning_stand_in import LightningDataModule, LightningModule
from trackside.config import ExperimentError, load
from trackside.outcome import Status


class Classifier(modules.classifier(LightningModule, nn)):  # type: ignore[misc]
    """Importable, as a file wants it."""


class Data(modules.data_module(LightningDataModule)):  # type: ignore[misc]
    """Likewise."""


HERE = "tests.config.experiment.test_lightning_modules"
FILE = f"""\
seed: 3
data:
  train: {{kind: {HERE}.Data}}
model: {{kind: {HERE}.Classifier}}
trainer: {{epochs: 1, steps: 3, directory: run}}
"""


def test_its_steps_and_its_data_are_taken_and_its_weights_come_from_the_seed() -> None:
    write(FILE)
    runs = [load("run.yaml").run(f"{number}") for number in (1, 2)]

    first, second = (run.trainer.model.head.weight for run in runs)
    assert [run.result.outcome.status for run in runs] == [Status.COMPLETED] * 2
    assert torch.equal(first, second)
    assert "val/loss" in runs[0].result.history.names
    again: Any = trackside.load("1")
    assert torch.equal(again.head.weight, first)


@pytest.mark.parametrize("section", ["loss: cross_entropy", "optimizer: {kind: sgd, lr: 0.1}"])
def test_a_section_that_would_have_no_effect_is_refused_at_its_place(section: str) -> None:
    write(FILE + section + "\n")
    with pytest.raises(ExperimentError, match=r"run\.yaml:6:.*no effect beside a LightningModule"):
        load("run.yaml").run()
