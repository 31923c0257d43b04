"""Memory that a run keeps from step to step: parameters, gradients, optimizer state, buffers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trackside.distributed.state import local_part
from trackside.run import Run


@dataclass(frozen=True, slots=True)
class KeptBytes:
    """Bytes of what a run keeps from step to step, on this rank."""

    parameters: int
    gradients: int
    """Those that are there now: none between two steps."""
    optimizer_state: int
    """As it is now: most optimizers make theirs in the first update."""
    buffers: int

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class Held:
    """Memory or space that a run takes beside its states; `plan` lists it before the run."""

    content: str
    place: Literal["host memory", "pinned host memory", "shared memory", "disk"]
    size_bytes: int | None
    """At most; None where that is not known before."""
    limit: str
    """The option that limits it."""


def kept_bytes(run: Run) -> KeptBytes:
    """Bytes of parameters, gradients, optimizer state and buffers of a run that is set up."""
    modules = list(run.models.values())
    loss = getattr(run.steps, "loss", None)
    if isinstance(loss, torch.nn.Module):
        modules.append(loss)
    parameters = [one for module in modules for one in module.parameters()]
    states = [list(optimizer.state.values()) for optimizer in run.optimizers.values()]
    return KeptBytes(
        parameters=bytes_of(parameters),
        gradients=bytes_of([one.grad for one in parameters]),
        optimizer_state=bytes_of(states),
        buffers=bytes_of([one for module in modules for one in module.buffers()]),
    )


def bytes_of(value: Any) -> int:
    """Bytes of the tensors in `value`, however they are nested; each tensor counts once."""
    return _bytes_of_each(one for one in tree_leaves(value) if isinstance(one, Tensor))


def _bytes_of_each(tensors: Iterable[Tensor]) -> int:
    found: dict[int, int] = {}
    for tensor in tensors:
        here = local_part(tensor)
        found[id(tensor)] = here.numel() * here.element_size()
    return sum(found.values())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a device or of the host.

    torch has a class for devices; of its allocator on the host only the words can be known.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
