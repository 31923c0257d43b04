"""A stand-in for CUDA graphs on the CPU: records operations, and repeats them on the same memory.

As a graph of a device does: recording computes nothing that stays; replaying runs no Python, reads
numbers as they were when it was recorded, and tensors as they are; results lie where they lay. A
generator that isn't registered draws in each replay what it drew when it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = ("aten._local_scalar_dense", "aten.is_nonzero", "aten.equal", "aten.nonzero")
Operation = tuple[Any, Any, Any, Any, list[tuple[torch.Generator, Tensor]]]


def tensors_in(*values: Any) -> list[Tensor]:
    return [leaf for value in values for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recording(TorchDispatchMode):
    """Notes every operation; what it changes in memory of before can be put back."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if str(func).startswith(READS):
            raise RuntimeError(f"{func} waits for the device: not permitted while recording")
        generators = [
            (one, one.get_state())
            for one in tree_leaves((args, kwargs))
            if isinstance(one, torch.Generator)
        ]
        for tensor in tensors_in(args, kwargs):
            storage = tensor.untyped_storage()
            if place(tensor) not in self._made:
                self._before.setdefault(place(tensor), (storage, storage.clone()))
        result = func(*args, **kwargs)
        known = {place(one) for one in tensors_in(args, kwargs)}
        self._made |= {place(one) for one in tensors_in(result)} - known
        self.operations.append((func, args, kwargs, result, generators))
        return result

    def put_back(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)


class RecordedGraphs:
    """Records on the CPU; `capture` as of `Graphs`."""

    made: list[RecordedGraphs] = []

    def __init__(self) -> None:
        self.captures = self.replays = 0
        RecordedGraphs.made.append(self)

    def capture(
        self, function: Callable[[], Any], generators: Iterable[torch.Generator]
    ) -> tuple[Callable[[], None], Any]:
        registered = {_own(one) for one in generators}
        recording, state = Recording(), torch.get_rng_state()
        try:
            with recording:
                result = function()
        finally:
            recording.put_back()
            torch.set_rng_state(state)
            for *_, drawn in recording.operations[::-1]:
                for generator, before in drawn:
                    generator.set_state(before)
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                for func, args, kwargs, old, drawn in recording.operations:
                    for generator, before in drawn:
                        if _own(generator) not in registered:
                            generator.set_state(before)
                    _repeat(func, args, kwargs, old)

        return replay, result


def _own(generator: Any) -> int:
    """What is the same of a generator that Python has wrapped twice."""
    address: int = generator._cdata
    return address


def _repeat(func: Any, args: Any, kwargs: Any, old: Any) -> None:
    """Compute again; what was a new result then is written where that lies."""
    known = {place(one) for one in tensors_in(args, kwargs)}
    new = func(*args, **kwargs)
    for there, value in zip(tensors_in(old), tensors_in(new), strict=True):
        if place(there) not in known:
            there.untyped_storage().copy_(value.untyped_storage())
