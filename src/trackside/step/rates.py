"""Learning rates as tensors that a graph reads, and as numbers for all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from trackside.machine.accelerator import exact_dtype


class Rates:
    """The learning rates of an optimizer's groups, lent to a graph for the time of an update.

    A graph is fixed for the numbers that it was made with; what is in a tensor, it reads each time.
    Schedulers, callbacks and checkpoints find the numbers in `param_groups`, as always. A rate that
    is a tensor already stays as it is.

    Args:
        optimizer: Its groups have `lr`.
        device: Where the graph reads them.
        dtype: Of the tensors; None: in which the numbers stay as they are.
    """

    def __init__(
        self, optimizer: Optimizer, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self._optimizer = optimizer
        self._device, self._dtype = device, dtype or exact_dtype(device)
        self._tensors: list[Tensor] = []
        self._numbers: list[float | None] = []
        self._lent = False

    def lend(self) -> None:
        """Put tensors in place of the numbers."""
        groups = self._optimizer.param_groups
        while len(self._tensors) < len(groups):
            self._tensors.append(torch.zeros((), device=self._device, dtype=self._dtype))
            self._numbers.append(None)
        for index, group in enumerate(groups):
            rate = group["lr"]
            if not isinstance(rate, Tensor):
                if rate != self._numbers[index]:
                    self._tensors[index].fill_(rate)
                    self._numbers[index] = rate
                group["lr"] = self._tensors[index]
        self._lent = True

    def take_back(self) -> None:
        """Put the numbers back."""
        if self._lent:
            for index, group in enumerate(self._optimizer.param_groups):
                if group["lr"] is self._tensors[index]:
                    group["lr"] = self._numbers[index]
            self._lent = False
