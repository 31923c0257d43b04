"""Hooks of a loop by hand: those that fire, those that need a word, those that can't."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.by_hand.loops import parts, weights
from trackside import Callback, UsageError
from trackside.by_hand.firing import FIRED, IF_TOLD, NEVER
from trackside.lifecycle.hooks import HOOKS


class Listener(Callback[Any]):
    def on_backward_end(self, run: Any, loss: Any) -> None:
        pass


class Dropping(Callback[Any]):
    def on_zero_grad_end(self, run: Any, optimizer: Any) -> None:
        pass


def test_every_hook_has_its_place() -> None:
    assert sorted([*FIRED, *IF_TOLD, *NEVER]) == sorted(HOOKS)


def test_a_callback_that_waits_for_the_backward_pass_is_refused_before_the_first_update() -> None:
    made = parts()
    before = weights(made)

    with (
        pytest.raises(UsageError, match=r"listener \(on_backward_end"),
        made.attach(Listener()) as run,
    ):
        for _ in run.epochs(1):
            for batch in run.batches():
                made.loss_of(batch).backward()
                made.update()

    assert torch.equal(weights(made), before)


def test_a_callback_that_waits_for_dropped_gradients_is_refused_in_the_first_step() -> None:
    made = parts()

    with pytest.raises(UsageError, match=r"run\.zero_grad"), made.attach(Dropping()) as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                made.update()
                run.step_done(made.loss_of(batch))


def test_gradients_are_dropped_within_a_step_only() -> None:
    with pytest.raises(UsageError, match="outside of a step"), parts().attach() as run:
        run.epochs(1)
        run.zero_grad()
