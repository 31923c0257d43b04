"""Bits that are flipped inside of steps, as bad memory would: one in each audited step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trackside import Callback, Run

WHAT = ("weight", "gradient", "state", "updated weight", "updated state")
EARLY = ("on_batch_start", "on_backward_start")
LATE = ("on_backward_end", "on_batch_end", "on_optimizer_step_start")
MOMENTS = {"weight": EARLY + LATE, "gradient": LATE, "state": EARLY + LATE}
"""When each can be flipped; what an update has made, directly after it."""


class Flips(Callback[Run]):
    """Flips one bit in every step that is due, and takes the harm back after the step.

    Args:
        what: Which tensors, of `WHAT`; one of them is drawn for each step.
        seed: Of the draws: step, moment, tensor, element, bit.
        due: Whether the step of a number gets one.
        low: Only the lowest bit of each element.
    """

    def __init__(
        self,
        what: tuple[str, ...] = WHAT,
        seed: int = 0,
        due: Callable[[int], bool] = lambda step: True,
        low: bool = False,
    ) -> None:
        self.what, self.due, self.low = what, due, low
        self.dice = random.Random(seed)
        self.flipped: dict[int, str] = {}
        """What was flipped, by number of the step."""
        self.chosen: str | None = None
        self.moment = ""

    def on_fit_start(self, run: Run) -> None:
        self.handle = run.optimizer.register_step_post_hook(self.after_update)

    def on_step_start(self, run: Run) -> None:
        self.run, step = run, run.progress.steps_completed + 1
        self.kept = [(t, t.detach().clone()) for t in self.tensors("weight")]
        self.chosen = self.dice.choice(self.what) if self.due(step) else None
        if self.chosen in MOMENTS:
            self.moment = self.dice.choice(MOMENTS[self.chosen])

    def after_update(self, *_: Any) -> None:
        if self.chosen is not None and self.chosen.startswith("updated"):
            self.flip()

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.at("on_batch_start")

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        self.at("on_backward_start")

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        self.at("on_backward_end")

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.at("on_batch_end")

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        self.at("on_optimizer_step_start")

    def on_step_end(self, run: Run) -> None:
        for tensor, values in self.kept:  # a flipped exponent would end the training
            if run.progress.steps_completed in self.flipped:
                tensor.detach().copy_(values)
        if run.progress.steps_completed in self.flipped:
            run.optimizer.state.clear()

    def on_close(self, run: Run, outcome: Any) -> None:
        self.handle.remove()

    def at(self, moment: str) -> None:
        if self.chosen in MOMENTS and moment == self.moment:
            self.flip()

    def flip(self) -> None:
        what, self.chosen = self.chosen, None
        tensors = list(self.tensors(str(what).removeprefix("updated ")))
        if not tensors:  # an optimizer without a state yet
            return
        tensor = self.dice.choice(tensors)
        element = self.dice.randrange(tensor.numel())
        bit = 0 if self.low else self.dice.randrange(8 * tensor.element_size())
        flip(tensor, element, bit)
        self.flipped[self.run.progress.steps_completed + 1] = f"bit {bit} of a {what}"

    def tensors(self, what: str) -> Iterator[Tensor]:
        for parameter in self.run.model.parameters():
            if what == "weight":
                yield parameter
            elif what == "gradient" and parameter.grad is not None:
                yield parameter.grad
            elif what == "state":
                values = self.run.optimizer.state.get(parameter, {}).values()
                yield from (value for value in values if isinstance(value, Tensor))


@torch.no_grad()
def flip(tensor: Tensor, element: int, bit: int) -> None:
    """Flip a bit, counted from the lowest of the element."""
    # `data`: autograd counts changes of the tensor itself, and memory that goes bad isn't counted.
    flat = tensor.data.view(-1)[element : element + 1].view(torch.uint8)
    flat[bit // 8] ^= 1 << (bit % 8)
