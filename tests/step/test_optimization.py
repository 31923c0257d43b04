"""Gradients are dropped as the optimizer itself would; schedulers move as their kind moves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as lrs

from trackside import ConfigurationError, Scheduler, Trainer
from trackside.callbacks.scheduling.warmup_stable_decay import WarmupStableDecayLR
from trackside.step.optimization import Scheduling, drop_gradients, drops_plainly
from trackside.testing import tiny_classification, tiny_regression


def test_gradients_of_every_group_are_dropped() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    groups: list[dict[str, Any]] = [{"params": part.parameters()} for part in model]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    model(torch.ones(4, 2)).sum().backward()

    drop_gradients(optimizer)

    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_optimizer_with_a_zero_grad_of_its_own_is_asked_to_do_it() -> None:
    class Keeping(torch.optim.SGD):
        dropped = 0

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.dropped += 1
            super().zero_grad(set_to_none=False)

    task = tiny_classification(samples=32)
    made: list[Keeping] = []

    def optimizer_of(parameters: Any) -> Keeping:
        made.append(Keeping(parameters, lr=0.1))
        return made[-1]

    result = task.trainer(optimizer=optimizer_of).fit(task.train, epochs=1)

    assert made[0].dropped == result.outcome.step


def test_an_instance_with_a_zero_grad_of_its_own_is_noticed() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    patched = copy.copy(optimizer)
    patched.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]

    assert drops_plainly(optimizer)
    assert not drops_plainly(patched)


def of_transformers(moves: int) -> float:
    return 1 / (1 + moves)


of_transformers.__module__ = "transformers.optimization"

KINDS: dict[str, tuple[Any, str]] = {
    "one cycle": (lambda o: lrs.OneCycleLR(o, 0.1, total_steps=9), "step"),
    "cyclic": (lambda o: lrs.CyclicLR(o, 0.01, 0.1), "step"),
    "warm-up, stable, decay": (lambda o: WarmupStableDecayLR(o, 1, 1, 1), "step"),
    "of transformers": (lambda o: lrs.LambdaLR(o, of_transformers), "step"),
    "of a function": (lambda o: lrs.LambdaLR(o, lambda n: 0.5**n), "epoch"),
    "step": (lambda o: lrs.StepLR(o, 1), "epoch"),
    "cosine": (lambda o: lrs.CosineAnnealingLR(o, 9), "epoch"),
    "chained": (lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o), lrs.StepLR(o, 1)]), "epoch"),
    "chained with a cycle": (
        lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o), lrs.CyclicLR(o, 0.01, 0.1)]),
        "step",
    ),
}


def an_optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1, momentum=0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_moves_as_its_kind_moves_where_nobody_says(kind: str) -> None:
    factory, interval = KINDS[kind]
    assert Scheduling(Scheduler(factory), an_optimizer()).interval == interval


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_scheduler_moves_as_it_is_told(kind: str, interval: Any) -> None:
    factory, _ = KINDS[kind]
    assert Scheduling(Scheduler(factory, interval), an_optimizer()).interval == interval


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_plateau_has_no_interval(interval: Any) -> None:
    with pytest.raises(ConfigurationError) as info:
        Scheduling(Scheduler(lrs.ReduceLROnPlateau, interval), an_optimizer())
    assert info.value.option == "interval"


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_plateau_has_a_monitor(kind: str) -> None:
    with pytest.raises(ConfigurationError) as info:
        Scheduling(Scheduler(KINDS[kind][0], monitor="val/loss"), an_optimizer())
    assert info.value.option == "monitor"


@pytest.mark.parametrize(
    ("fit", "evaluations"),
    [
        ({"epochs": 3}, 3),
        ({"epochs": 2, "evaluate_every": "1 step"}, 8),
        ({"steps": 6, "evaluate_every": "2 steps"}, 3),
    ],
)
def test_a_plateau_moves_with_each_value_that_is_recorded(
    fit: dict[str, Any], evaluations: int
) -> None:
    made: list[Any] = []

    def plateau(optimizer: Any) -> Any:
        made.append(lrs.ReduceLROnPlateau(optimizer))
        return made[0]

    data = torch.utils.data.TensorDataset(torch.zeros(8, 1), torch.zeros(8, 1))
    Trainer(
        lambda: torch.nn.Linear(1, 1),
        loss=torch.nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        scheduler=plateau,
        defaults=False,
    ).fit(data, data, batch_size=2, **fit)
    assert made[0].last_epoch == evaluations


def test_a_scheduler_without_a_state_is_refused_before_the_first_step() -> None:
    class Own:
        def __init__(self, optimizer: Any) -> None:
            self.optimizer = optimizer

        def step(self) -> None:
            raise AssertionError

    task = tiny_regression()
    with pytest.raises(ConfigurationError, match="`Own` can't be kept in a checkpoint"):
        task.trainer(scheduler=Own).fit(task.train, steps=1)
