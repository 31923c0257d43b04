"""A model with steps of its own is refused where the trainer would not call them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.dialects import lightning_modules as modules
from tests.dialects.lightning_stand_in import LightningModule
from trackside import Settings, Trainer
from trackside.errors import ConfigurationError

Classifier = modules.classifier(LightningModule, nn)
PLAIN: dict[str, Any] = {
    "loss": nn.CrossEntropyLoss(),
    "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
}


def trained(kind: Any, *model: Any, **options: Any) -> Any:
    settings = Settings(device="cpu", directory="run")
    trainer = kind(*model, settings=settings, defaults=False, **options)
    return trainer.fit(modules.loader(), epochs=1, steps=1)


@pytest.mark.parametrize("options", [{}, PLAIN])
def test_a_function_that_makes_a_module_with_steps_is_refused_with_the_way(options: Any) -> None:
    with pytest.raises(ConfigurationError, match="would never be called") as refused:
        trained(Trainer, lambda: Classifier(), **options)
    assert "`Trainer(Classifier(...))`" in str(refused.value)
    assert "nn.Sequential(Classifier(...))" in str(refused.value)


def test_a_compiled_module_is_refused_with_the_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"Settings\(compile=True\)"):
        trained(Trainer, torch.compile(Classifier()), **PLAIN)


def test_a_trainer_that_makes_such_modules_without_a_step_of_its_own_is_refused() -> None:
    class Making(Trainer):
        def configure_model(self, run: Any) -> Any:
            return {"first": Classifier(), "second": nn.Linear(1, 1)}

    with pytest.raises(ConfigurationError, match="by `configure_model`"):
        trained(Making, **PLAIN)


def test_a_trainer_with_a_step_of_its_own_says_itself_what_is_computed() -> None:
    class Computing(Trainer):
        def training_step(self, run: Any, batch: Any) -> Any:
            return run.model(batch[0]).sum()

    assert trained(Computing, lambda: Classifier(), **PLAIN).outcome.step == 1


def test_within_a_plain_module_it_is_one() -> None:
    model = nn.Sequential(Classifier())
    assert trained(Trainer, model, **PLAIN).outcome.step == 1
