"""Several batches in one step: their gradients together are those of the whole step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trackside.distributed.state import is_sharded
from trackside.machine.accelerator import exact_dtype

PartsMark = tuple[int, Tensor | float, Tensor | float]
"""Batches taken, the weight of the first, and that of all of them."""


class Parts:
    """The batches of one step, each with its weight: samples, or what its step returned.

    How much the whole step weighs is known with its last batch only. Each loss goes into the
    gradients in proportion to the first batch, and the gradients are put right at the end, which
    batches that all weigh the same do not need.

    Args:
        batches: How many there will be, as far as is known.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.taken = 0
        self._first: Tensor | float = 0
        self._total: Tensor | float = 0

    def mark(self) -> PartsMark:
        """The batches taken by now, for `back_to`."""
        return self.taken, self._first, self._total

    def back_to(self, mark: PartsMark) -> None:
        """Forget the batches since `mark`."""
        self.taken, self._first, self._total = mark

    def scale(self, loss: Tensor, weight: Tensor | float) -> Tensor:
        """The mean loss of the next batch, shape `()`, as it goes into the gradients.

        Args:
            loss: Its mean loss.
            weight: What it weighs; on several ranks, over all of them.
        """
        if isinstance(weight, Tensor):
            exact = exact_dtype(loss.device)
            weight = weight.detach().reshape(()).to(loss.device, exact, non_blocking=True)
        if self.taken == 0:
            self._first = _positive(weight)
        self.taken += 1
        self._total = self._total + weight
        if not isinstance(self._first, Tensor) and not isinstance(weight, Tensor):
            same = weight == self._first
            return loss / self.batches if same else loss * (weight / self._expected)
        factor = torch.as_tensor(weight / self._expected)
        return loss * factor.to(loss.device, loss.dtype)

    def finish(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the gradients of `parameters` right for what the batches weigh together."""
        if isinstance(self._expected, Tensor) or isinstance(self._total, Tensor):
            total = torch.as_tensor(self._total)
            factor: Tensor | float = self._expected / torch.where(total > 0, total, 1)
        elif self._total in (0, self._expected):
            return
        else:
            factor = self._expected / self._total
        groups: dict[tuple[torch.device, bool], dict[int, Tensor]] = {}
        for one in parameters:
            if one.grad is not None:
                groups.setdefault((one.device, is_sharded(one)), {})[id(one)] = one.grad
        for (device, _), grads in groups.items():
            here = factor.to(device) if isinstance(factor, Tensor) else factor
            torch._foreach_mul_(list(grads.values()), here)

    @property
    def _expected(self) -> Tensor | float:
        """Weight of all batches together if each weighs as much as the first."""
        return self._first * self.batches


def _positive(weight: Tensor | float) -> Tensor | float:
    if isinstance(weight, Tensor):
        return torch.where(weight > 0, weight, 1)
    return weight if weight > 0 else 1
