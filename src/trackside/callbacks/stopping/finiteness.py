"""Where values are finite: found without waiting for the device, named when they aren't."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trackside.distributed.gradients import value_of
from trackside.machine.accelerator import exact_dtype
from trackside.models.naming import named_parameters, prefix

_NEVER = float("inf")


class LateFlag:
    """Remembers the first steps with a loss, and with a gradient, that aren't finite; is read late.

    The flags stay on the values' device. They are copied to the host in the background; `glance`
    says what has arrived and never waits. So a bad step is known one or two steps later, on a busy
    device; `look` waits and knows at once.
    """

    def __init__(self) -> None:
        self.finite_until = 0
        """The last step of which it is known that it was finite, and all before it."""
        self._first: dict[str, Tensor] = {}
        self._steps = 0
        self._copy: tuple[Tensor, torch.Event, int] | None = None

    def add(self, value: Tensor, step: int, what: str) -> Tensor:
        """Take in a value of one element, computed in step number `step`.

        Args:
            value: The value.
            step: Number of the step.
            what: Kind of value, as a message names it: "the loss".

        Returns:
            1.0 where the value isn't finite, else 0.0, on its device, shape `()`.
        """
        finite = torch.isfinite(value.detach()).reshape(())
        bad = torch.where(finite, _NEVER, float(step)).to(exact_dtype(finite.device))
        former = self._first.get(what)
        self._first[what] = bad if former is None else torch.minimum(former, bad)
        self._steps = step
        return (~finite).float()

    def glance(self) -> tuple[int, str] | None:
        """The first bad step that is known by now without waiting, and what was bad; or None."""
        if not self._first:
            return None
        first = torch.stack(list(self._first.values()))
        if first.device.type == "cpu":
            return self._found(first, self._steps)
        if self._copy is not None:
            copy, arrived, steps = self._copy
            if not arrived.query():
                return None
            self._copy = None
            if (found := self._found(copy, steps)) is not None:
                return found
        host = torch.empty(first.shape, dtype=first.dtype, pin_memory=True)
        host.copy_(first, non_blocking=True)
        stream = torch.accelerator.current_stream(first.device)
        self._copy = (host, stream.record_event(), self._steps)
        return None

    def look(self) -> tuple[int, str] | None:
        """The first bad step, waiting for the device; None when all values were finite."""
        if not self._first:
            return None
        return self._found(torch.stack(list(self._first.values())), self._steps)

    def _found(self, first: Tensor, steps: int) -> tuple[int, str] | None:
        numbers = dict(zip(self._first, first.tolist(), strict=False))
        what = min(numbers, key=lambda name: numbers[name])
        if numbers[what] == _NEVER:
            self.finite_until = steps
            return None
        return int(numbers[what]), what


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
        if (gradient := value_of(parameter)) is not None:
            yield name, gradient


def weights(
    models: Mapping[str, nn.Module], *, without: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, `without` those named there, by model."""
    for own_name, model in models.items():
        before, left_out = prefix(own_name, models), without.get(own_name, ())
        for name, tensor in model.state_dict().items():
            if isinstance(tensor, Tensor) and name not in left_out:
                yield before + name, tensor
