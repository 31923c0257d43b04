"""Where values are finite: found without waiting for the device, named when they aren't."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trackside.models.naming import named_parameters, prefix

_NEVER = float("inf")


class LateFlag:
    """Remembers the first step with a value that isn't finite, and is read late.

    The flag stays on the values' device. It is copied to the host in the background; `glance` tells
    what has arrived and never waits. So a bad step is known one or two steps later, on a busy
    device; `look` waits and knows at once.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._copy: tuple[Tensor, torch.Event] | None = None

    def add(self, value: Tensor, step: int) -> None:
        """Take in a value of one element, computed in step number `step`."""
        bad = torch.where(torch.isfinite(value.detach()), _NEVER, float(step)).double()
        self._first = bad if self._first is None else torch.minimum(self._first, bad)

    def glance(self) -> int | None:
        """The first bad step that is known by now without waiting, or None."""
        if self._first is None:
            return None
        if self._first.device.type == "cpu":
            return _step(self._first)
        if self._copy is not None:
            copy, arrived = self._copy
            if not arrived.query():
                return None
            self._copy = None
            if (found := _step(copy)) is not None:
                return found
        host = torch.empty((), dtype=torch.float64, pin_memory=True)
        host.copy_(self._first, non_blocking=True)
        self._copy = (host, torch.accelerator.current_stream(self._first.device).record_event())
        return None

    def look(self) -> int | None:
        """The first bad step, waiting for the device; None when all values were finite."""
        return None if self._first is None else _step(self._first)


def _step(first: Tensor) -> int | None:
    number = first.item()
    return None if number == _NEVER else int(number)


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested lists, tuples and mappings, with where they are: `[0]`, `['image']`."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors_in(part, f"{name}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            yield from tensors_in(part, f"{name}[{index}]")


def gradients(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """The gradients that are there, by the name of their parameter."""
    for name, parameter in named_parameters(models):
        if parameter.grad is not None:
            yield name, parameter.grad


def weights(
    models: Mapping[str, nn.Module], *, without: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, `without` those named there, by model."""
    for own_name, model in models.items():
        before, left_out = prefix(own_name, models), without.get(own_name, ())
        for name, tensor in model.state_dict().items():
            if isinstance(tensor, Tensor) and name not in left_out:
                yield before + name, tensor
