"""Gradients are dropped as the optimizer itself would drop them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from trackside.step.optimization import drop_gradients, drops_plainly
from trackside.testing import tiny_classification


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
