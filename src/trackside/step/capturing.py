"""Whole steps as graphs of a device: recorded once, replayed from fixed memory.

A graph repeats the operations of the step that was recorded, on the memory that these used. Python
isn't run again: whatever it decided, read or counted is as it was. `python_state` is what is looked
at before each replay, so that a graph is used only where Python would decide the same.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map_only

from trackside.errors import UsageError

_NUMBERS = frozenset((int, float, bool, str, type(None)))


class Graphs(Protocol):
    """Records functions on a device."""

    def capture(
        self, function: Callable[[], Any], generators: Iterable[torch.Generator]
    ) -> tuple[Callable[[], None], Any]:
        """Record `function` without computing it; return what replays it, and its result.

        Args:
            function: Its operations use memory that stays.
            generators: Those that it may draw from, beside the device's default one.
        """


class CudaGraphs:
    """CUDA graphs that share their memory: none of them runs while another does."""

    def __init__(self) -> None:
        self._pool: Any = None

    def capture(
        self, function: Callable[[], Any], generators: Iterable[torch.Generator]
    ) -> tuple[Callable[[], None], Any]:
        """See `Graphs`."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        # Other threads may use the device meanwhile: they write checkpoints and fetch batches.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = function()
        return graph.replay, result


GRAPHS: dict[str, Callable[[], Graphs]] = {"cuda": CudaGraphs}
"""By type of device; tests have a stand-in for the CPU."""


# --- batches -------------------------------------------------------------------------------------


def fits(batch: Any) -> bool:
    """Whether a batch consists of tensors and constants in lists, tuples and mappings."""
    return all(type(leaf) is Tensor or type(leaf) in _NUMBERS for leaf in tree_leaves(batch))


def buffers_for(batch: Any, device: torch.device) -> Any:
    """Memory for batches of this form, which stays."""
    return tree_map_only(Tensor, lambda t: torch.empty_like(t, device=device), batch)


def fill(buffers: Any, batch: Any) -> None:
    """Copy the tensors of `batch` into `buffers`."""
    for buffer, value in zip(tree_leaves(buffers), tree_leaves(batch), strict=True):
        if isinstance(buffer, Tensor):
            buffer.copy_(value, non_blocking=True)


# --- what Python decides -------------------------------------------------------------------------


def python_state(
    modules: Iterable[nn.Module], optimizers: Iterable[Optimizer], owner: object
) -> Hashable:
    """Everything that a recorded step is fixed for; None where it must not be recorded.

    Modes, numbers and texts among the attributes of modules and of `owner`; where parameters,
    buffers and states of optimizers lie, and which parameters want gradients; numbers of groups but
    the learning rate. A hook of torch on a module or a gradient must be called: None.
    """
    found: list[Any] = [_numbers(owner)]
    for module in modules:
        for part in module.modules():
            if part._forward_hooks or part._forward_pre_hooks:
                return None
            if part._backward_hooks or part._backward_pre_hooks:
                return None
            found.append(_numbers(part))
            for parameter in part._parameters.values():
                if parameter is not None:
                    if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
                        return None
                    found.append((parameter.data_ptr(), parameter.requires_grad))
            found += [b.data_ptr() for b in part._buffers.values() if b is not None]
    for optimizer in optimizers:
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return None
        found += map(_of_group, optimizer.param_groups)
        for state in optimizer.state.values():
            found += [t.data_ptr() for t in state.values() if isinstance(t, Tensor)]
    return tuple(found)


def _numbers(thing: object) -> Hashable:
    return tuple([one for one in vars(thing).values() if type(one) in _NUMBERS])


def _of_group(group: dict[str, Any]) -> Hashable:
    numbers = [(name, str(one)) for name, one in group.items() if name not in ("params", "lr")]
    return tuple(numbers), tuple(map(id, group["params"])), isinstance(group["lr"], Tensor)


def generators_of(modules: Iterable[nn.Module], device: torch.device) -> list[torch.Generator]:
    """Generators of `device` that modules have as attributes."""
    parts = [part for module in modules for part in module.modules()]
    values = [one for part in parts for one in vars(part).values()]
    found = [one for one in values if isinstance(one, torch.Generator)]
    return list({id(one): one for one in found if one.device.type == device.type}.values())


@contextmanager
def draws_nothing_on_the_host() -> Iterator[None]:
    """Refuse a step that draws from generators of the host: a graph would repeat the draw.

    What it drew is put back: the step is not recorded, and is still to be taken.

    Raises:
        UsageError: It does.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        after = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
    if str(before[:2]) != str(after[:2]) or not torch.equal(before[2], after[2]):
        raise UsageError(
            "the step draws random numbers on the host",
            remedy="draw them on the device: torch.rand(..., device=...)",
        )


class NotInGraphs:
    """Stands for a part of the run while a step is recorded: what is read then would stay.

    Args:
        name: How a step reaches it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        raise UsageError(
            f"`{self._name}` is used in a step that is recorded, which repeats what it was then",
            remedy="use it in a callback, such as in `on_step_start`",
        )


def place_in_user_code(error: BaseException) -> str:
    """File and line of the innermost frame of an error in code of the user."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = ("/torch/", "/trackside/")
    theirs = [
        frame
        for frame in frames
        if not any(part in frame.filename for part in ours) and frame.name != "__torch_dispatch__"
    ]
    if not theirs:
        return "in no line of user code"
    return f"{theirs[-1].filename}:{theirs[-1].lineno}: {theirs[-1].line}"
