"""One batch in pieces: gradients, loss and output as if it had gone through the model at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trackside.machine import randomness
from trackside.machine.accelerator import exact_dtype
from trackside.step.metrics import MetricLog
from trackside.step.output import Output, joined


class Before:
    """All that an attempt at a batch may change, as it was before.

    Buffers, generators and values that were logged are kept. Gradients are laid aside: the attempt
    begins with none, and they are put back, or those that it made are added to them.

    Args:
        modules: All models, and the loss where it is one.
        parameters: Whose gradients; one may come twice.
        log: Where steps log values.
    """

    def __init__(
        self, modules: Iterable[nn.Module], parameters: Iterable[nn.Parameter], log: MetricLog
    ) -> None:
        self._owners = [(m, dict(m._buffers)) for one in modules for m in one.modules()]
        self._buffers = {
            id(buffer): (buffer, buffer.detach().clone())
            for _, own in self._owners
            for buffer in own.values()
            if buffer is not None
        }
        self._random = randomness.capture()
        self._log, self._mark = log, log.mark()
        self._parameters = list({id(one): one for one in parameters}.values())
        self._gradients = [(one, one.grad) for one in self._parameters if one.grad is not None]
        self._drop()

    def put_back(self) -> None:
        """Let everything be as it was, but for the gradients: there are none."""
        with torch.no_grad():
            for module, own in self._owners:  # another tensor may stand in a buffer's place
                module._buffers.update(own)
            for buffer, values in self._buffers.values():
                buffer.copy_(values)
        randomness.restore(self._random)
        self._log.back_to(self._mark)
        self._drop()

    def made(self) -> dict[nn.Parameter, Tensor]:
        """The gradients that the attempt made; they are taken from the parameters."""
        made = {one: one.grad for one in self._parameters if one.grad is not None}
        self.restore()
        return made

    def restore(self) -> None:
        """Put back the gradients that were laid aside, and no others."""
        self._drop()
        for one, gradient in self._gradients:
            one.grad = gradient

    def _drop(self) -> None:
        for one in self._parameters:
            one.grad = None


def add_gradients(made: Mapping[nn.Parameter, Tensor]) -> None:
    """Add gradients to those of their parameters, as a backward pass does."""
    dense: tuple[list[Tensor], list[Tensor]] = ([], [])
    for parameter, gradient in made.items():
        if parameter.grad is None:
            parameter.grad = gradient
        elif parameter.grad.is_sparse or gradient.is_sparse:
            parameter.grad = parameter.grad + gradient
        else:
            dense[0].append(parameter.grad)
            dense[1].append(gradient)
    if dense[0]:
        torch._foreach_add_(*dense)


def scale_gradients(made: Mapping[nn.Parameter, Tensor], factor: Tensor) -> None:
    """Multiply gradients by a number, in place."""
    for gradient in made.values():
        gradient.mul_(factor.to(gradient.device))


class Done(NamedTuple):
    """One piece that went through the model, without its graph."""

    returned: Any
    """Whatever the step returned."""
    output: Output
    weight: Tensor | float


def as_one(pieces: Sequence[Done]) -> Done:
    """The pieces of a batch as one: the mean of their losses by weight, predictions joined.

    Whatever does not fit together (`joined`) is a list over the pieces.
    """
    if len(pieces) == 1:
        return pieces[0]
    outputs = [one.output for one in pieces]
    losses = torch.stack([one.loss.detach().reshape(()) for one in outputs])
    exact = exact_dtype(losses.device)
    given = [torch.as_tensor(one.weight).detach().reshape(()) for one in pieces]
    weights = torch.stack([one.to(losses.device, exact) for one in given])
    total = weights.sum()
    loss = (losses * weights).sum() / torch.where(total > 0, total, 1)
    output = Output(
        loss.to(losses.dtype),
        _joined([one.prediction for one in outputs]),
        _joined([one.target for one in outputs]),
        _sum([one.weight for one in outputs]),
        _sum([one.samples for one in outputs]),
        _sum([one.tokens for one in outputs]),
    )
    said = any(isinstance(one.weight, Tensor) for one in pieces)
    weight = total if said else sum(float(one.weight) for one in pieces)
    return Done(_as_returned([one.returned for one in pieces], output), output, weight)


def without_graph(value: Any) -> Any:
    """The value with its tensors detached, in mappings, tuples and lists as well."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: without_graph(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [without_graph(part) for part in value]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return tuple(parts) if isinstance(value, tuple) else parts
    return value


def _as_returned(returned: Sequence[Any], output: Output) -> Any:
    """The output in the form in which the step returns it: a loss, a mapping, or an `Output`."""
    first = returned[0]
    if isinstance(first, Tensor):
        return output.loss
    if not isinstance(first, Mapping):
        return output
    known = output._asdict()
    named = {key: _joined([one[key] for one in returned]) for key in first}
    return {key: known.get(key, value) for key, value in named.items()}


def _joined(parts: list[Any]) -> Any:
    return None if all(part is None for part in parts) else joined(parts)


def _sum(parts: Iterable[Any]) -> Any:
    there = list(_there(parts))
    return sum(there[1:], there[0]) if there else None


def _there(parts: Iterable[Any]) -> Iterator[Any]:
    return (part for part in parts if part is not None)
