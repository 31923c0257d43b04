"""GradientNorm logs what the gradients were before they are clipped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from trackside import Callback, Settings, Trainer
from trackside.callbacks.gradients.clip_gradients import ClipGradients
from trackside.callbacks.gradients.gradient_norm import GradientNorm
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression


class ByHand(Callback):
    """Norms of the gradients of each step, computed apart."""

    runs_after = (GradientNorm,)
    runs_before = (ClipGradients,)

    def __init__(self) -> None:
        self.total: list[float] = []
        self.weight: list[float] = []

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        gradients = {name: p.grad.double() for name, p in run.model.named_parameters()}  # type: ignore[union-attr]
        self.total.append(torch.cat([g.flatten() for g in gradients.values()]).norm().item())
        self.weight.append(gradients["weight"].norm().item())


def fit(*callbacks: Callback, **options: Any) -> Any:
    task = tiny_regression()
    trainer = task.trainer(callbacks=callbacks, settings=Settings(log_every="1 step"), **options)
    return trainer.fit(task.train, epochs=2).history


def test_total_and_patterns_are_the_norms_computed_by_hand() -> None:
    by_hand = ByHand()
    history = fit(GradientNorm("1 step", patterns=["*weight"]), by_hand)

    assert history.values("grad/norm") == pytest.approx(by_hand.total, rel=1e-6)
    assert history.values("grad/norm/*weight") == pytest.approx(by_hand.weight, rel=1e-6)


def test_it_measures_before_gradients_are_clipped() -> None:
    history = fit(ClipGradients(norm=0.01), GradientNorm("1 step"))

    assert history.values("grad/norm") == pytest.approx(history.values("clip/norm"))


def test_it_measures_in_the_steps_that_are_due() -> None:
    history = fit(GradientNorm("3 steps"))

    assert [step for step, _ in history.points("grad/norm")] == [3, 6]


def test_each_of_several_optimizers_has_its_norm() -> None:
    class Two(Trainer):
        def configure_model(self, run: Any) -> Any:
            return {"model": nn.Linear(2, 1), "other": nn.Linear(2, 1)}

        def configure_optimizers(self, run: Any) -> Any:
            return {name: SGD(model.parameters(), lr=0.1) for name, model in run.models.items()}

        def training_step(self, run: Any, batch: Any) -> Any:
            inputs, target = batch
            prediction = run.models["model"](inputs) + run.models["other"](inputs)
            return (prediction - target).square().mean()

    task = tiny_regression()
    norm = GradientNorm("1 step", patterns=["other.*"])
    history = Two(callbacks=[norm], defaults=False).fit(task.train, epochs=1).history

    assert {name for name in history.names if name.startswith("grad")} == {
        "grad/norm/model",
        "grad/norm/other",
        "grad/norm/other/other.*",
    }


def test_a_pattern_that_no_parameter_has_is_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigurationError, match="did you mean `weight`"):
        fit(GradientNorm(patterns=["weigth"]))
