"""TuneFSDP sets the order in which sharded blocks are gathered."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside import Trainer
from trackside.callbacks.performance.tune_fsdp import TuneFSDP
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression


class Block(nn.Linear):
    """Offers what a module has once torch's `fully_shard` has been at it."""

    def __init__(self, name: str) -> None:
        super().__init__(2, 2)
        self.called = name
        self.forward_ahead: list[str] | None = None
        self.backward_ahead: list[str] | None = None

    def set_modules_to_forward_prefetch(self, blocks: list[Block]) -> None:
        self.forward_ahead = [block.called for block in blocks]

    def set_modules_to_backward_prefetch(self, blocks: list[Block]) -> None:
        self.backward_ahead = [block.called for block in blocks]


class Backwards(nn.Module):
    """Runs its blocks in another order than it defines them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = Block("a"), Block("b"), Block("c")

    def forward(self, x: Tensor) -> Tensor:
        return self.a(self.b(self.c(x))).sum(dim=1, keepdim=True)


def fit(tune: TuneFSDP) -> Backwards:
    task, model = tiny_regression(), Backwards()
    trainer = Trainer(
        model,
        loss=task.loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        callbacks=[tune],
        defaults=False,
    )
    trainer.fit(task.train, steps=2)
    return model


def test_the_order_is_the_one_in_which_blocks_ran() -> None:
    model = fit(TuneFSDP(forward=2, backward=1))

    assert [model.c.forward_ahead, model.b.forward_ahead, model.a.forward_ahead] == [
        ["b", "a"],
        ["a"],
        [],
    ]
    assert [model.a.backward_ahead, model.b.backward_ahead] == [["b"], ["c"]]


def test_the_order_can_be_that_of_the_definition() -> None:
    model = fit(TuneFSDP(order="definition"))

    assert [model.a.forward_ahead, model.b.forward_ahead, model.c.forward_ahead] == [
        ["b"],
        ["c"],
        [],
    ]


def test_nought_leaves_it_to_torch() -> None:
    model = fit(TuneFSDP(forward=0, backward=1))

    assert model.a.forward_ahead is None
    assert model.a.backward_ahead is not None


def test_nothing_is_left_watching() -> None:
    model = fit(TuneFSDP())

    assert not any(module._forward_pre_hooks for module in model.modules())


def test_where_nothing_is_sharded_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_regression()
    with caplog.at_level(logging.WARNING, logger="trackside"):
        task.trainer(callbacks=[TuneFSDP()]).fit(task.train, steps=1)

    assert "nothing to tune" in caplog.text


@pytest.mark.parametrize("options", [{"forward": -1}, {"order": "alphabetical"}], ids=str)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        TuneFSDP(**options)
