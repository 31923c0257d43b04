"""Tensors and plain values compared bit by bit: also NaN, and zeros of both signs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Difference(NamedTuple):
    """One tensor, or plain value, that isn't bitwise the expected one."""

    name: str
    """Its name: `the gradient of 0.weight`."""
    expected: str
    """Its first different element as it was computed again; of plain values, the value."""
    found: str
    """The same element in the run."""
    elements: int = 1
    """How many elements differ."""
    place: tuple[int, ...] = ()
    """The first of them."""

    def __str__(self) -> str:
        where = f" at {list(self.place)}" if self.place else ""
        many = f" and {self.elements - 1} elements more" if self.elements > 1 else ""
        return f"{self.name}{where}: {self.found} instead of {self.expected}{many}"


@torch.no_grad()
def differences(
    what: str, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[Difference]:
    """Values of `found` that aren't bitwise those of `expected`, which has the same names.

    Args:
        what: What they are, to stand before the names: `the gradient of`.
        expected: Tensors of any shape, or plain values, by name.
        found: The same in the run.
    """
    for name, value in expected.items():
        other = found.get(name)
        if isinstance(value, Tensor) and isinstance(other, Tensor):
            difference = _of_tensors(f"{what} {name}", value.detach(), other.detach())
            if difference is not None:
                yield difference
        elif repr(value) != repr(other):
            yield Difference(f"{what} {name}", repr(value), repr(other))
    for name in found.keys() - expected.keys():
        yield Difference(f"{what} {name}", "nothing", repr(found[name]))


def _of_tensors(name: str, expected: Tensor, found: Tensor) -> Difference | None:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return Difference(name, _described(expected), _described(found))
    one, other = _bits(expected), _bits(found)
    if torch.equal(one, other):
        return None
    different = (one != other).any(1).nonzero().flatten()
    first = int(different[0])
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(first), expected.shape))
    return Difference(
        name,
        _shown(expected.reshape(-1)[first]),
        _shown(found.reshape(-1)[first]),
        len(different),
        index,
    )


def _bits(tensor: Tensor) -> Tensor:
    """Its bytes, shape `(elements, bytes of one)`."""
    whole = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    flat = whole.resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).reshape(len(flat), flat.element_size())


def _shown(value: Tensor) -> str:
    """A number with all its digits, so that a change of its last bit is seen."""
    return repr(value.item())


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
