"""FSDP: every rank has a part of each parameter, its gradient and its optimizer state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)

from trackside.distributed.materialize import (
    build_without_memory,
    is_without_memory,
    materialize,
)
from trackside.distributed.parallel import Call, ModelSource, Parallel
from trackside.errors import ConfigurationError
from trackside.progress import whole_number
from trackside.vocabulary.option_types import holds_options

if TYPE_CHECKING:
    from trackside.distributed.world import World

T = TypeVar("T")
Blocks = type[nn.Module] | Sequence[type[nn.Module]] | Callable[[nn.Module], bool]


@final
@holds_options
@dataclass(frozen=True)
class FSDP(Parallel):
    """Fully sharded data parallel training by torch's `fully_shard` (FSDP2).

    Give the trainer a factory (`model=lambda: Model(...)`) for a model that is too large for one
    device: it is built on the meta device, sharded, and only then gets memory and initial values,
    those that its modules' `reset_parameters` set.

    Args:
        blocks: What is gathered, computed and freed as one: a module class, several, or a function
            of a module (the layers of a transformer, say). None shards the model as one block,
            which saves memory between steps only.
        param_dtype: Precision of parameters in forward and backward; None keeps that of the model.
        reduce_dtype: Precision in which gradients are averaged; None takes `param_dtype`.
        output_dtype: Precision of what the model returns; None leaves it.
        cpu_offload: Parameters, gradients and optimizer state live on the CPU and visit the device.
        reshard_after_forward: Free gathered parameters between forward and backward (less memory,
            one more gather); None: all blocks except the outermost.
        replicas: Copies of the model, each sharded over as many ranks (HSDP): on 16 ranks, 4 of 4.
            Ranks of one copy follow each other: put it on one machine, so that parameters are
            gathered there, and gradients alone travel between machines.
        meta_device: Whether a model given as a factory is built without memory first. False builds
            it on the host of each rank, with whatever the factory loads into it.
    """

    blocks: Blocks | None = None
    param_dtype: torch.dtype | None = None
    reduce_dtype: torch.dtype | None = None
    output_dtype: torch.dtype | None = None
    cpu_offload: bool = False
    reshard_after_forward: bool | int | None = None
    meta_device: bool = True
    replicas: int = 1

    forward_is_collective = True

    def __post_init__(self) -> None:
        whole_number(self.replicas, "replicas", at_least=1)

    def shard_of(self, world: World) -> tuple[int, int] | None:
        """Where there are several copies: which of its parts this rank holds."""
        shards = world.size // self.replicas
        return None if self.replicas == 1 else (world.rank % shards, shards)

    def _mesh(self, world: World) -> DeviceMesh:
        kind, copies = world.device.type, self.replicas
        if copies == 1:
            return init_device_mesh(kind, (world.size,))
        if world.size % copies:
            raise ConfigurationError(
                f"replicas={copies} can't be made of {world.size} ranks",
                expected="a divisor of the number of ranks",
                option="replicas",
            )
        names = ("replicate", "shard")
        return init_device_mesh(kind, (copies, world.size // copies), mesh_dim_names=names)

    def build(self, factory: Callable[[], nn.Module]) -> nn.Module:
        """The model, on the meta device unless `meta_device` is False."""
        return build_without_memory(factory) if self.meta_device else factory()

    def place(self, source: ModelSource, world: World) -> nn.Module:
        """Build, shard, and move the model; a model that is built already is sharded in place.

        Raises:
            ConfigurationError: `blocks` fits no module, a module built on the meta device can't be
                given its initial values, or `replicas` doesn't divide the number of ranks.
        """
        mesh = self._mesh(world)
        model = source if isinstance(source, nn.Module) else self.build(source)
        if is_without_memory(model):
            self._shard(model, mesh)
            with _draws_of_rank_zero(world):
                materialize(model, torch.device("cpu") if self.cpu_offload else world.device)
        else:
            model = model if self.cpu_offload else model.to(world.device)
            _copy_from_rank_zero(model, world)
            self._shard(model, mesh)
        return model

    def _shard(self, model: nn.Module, mesh: DeviceMesh) -> None:
        policy = MixedPrecisionPolicy(self.param_dtype, self.reduce_dtype, self.output_dtype)
        # Pinned memory exists for accelerators only.
        offload = CPUOffloadPolicy(pin_memory=mesh.device_type != "cpu")
        options: dict[str, Any] = {
            "mesh": mesh,
            "mp_policy": policy,
            "offload_policy": offload if self.cpu_offload else OffloadPolicy(),
        }
        if self.reshard_after_forward is not None:
            options["reshard_after_forward"] = self.reshard_after_forward
        for block in self._blocks_of(model):  # from the inside out, as fully_shard asks
            fully_shard(block, **options)
        fully_shard(model, **options)
        _accept_calls(type(model))

    def _blocks_of(self, model: nn.Module) -> list[nn.Module]:
        if self.blocks is None:
            return []
        is_block = _test_for(self.blocks)
        found = [m for m in reversed(list(model.modules())) if m is not model and is_block(m)]
        if not found:
            raise ConfigurationError(
                "FSDP's blocks fit no module of the model",
                expected="a class of modules inside the model, or a function that finds some",
                received=f"{self.blocks!r}; the model has "
                + ", ".join(sorted({type(m).__name__ for m in model.modules()})),
                option="blocks",
            )
        return found

    def around(self, model: nn.Module, call: Callable[[], T], *, begins: bool = True) -> T:
        """See `Parallel`: `call` is a forward pass of the whole, which gathers what it holds."""
        if not begins or not isinstance(model, FSDPModule):
            return call()
        # Past torch.compile, which may have been put in front: `call` is not a part of the model.
        result: T = model._call_impl(Call(call))  # type: ignore[no-untyped-call]
        return result

    def no_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Gradients stay on this rank, unsharded: takes the memory of all gradients."""
        return _no_sync(model)

    def unwrap(self, model: nn.Module) -> nn.Module:
        """`model`: it is sharded in place, under its own names."""
        return model


def _accept_calls(sharded: type[nn.Module]) -> None:
    """Let modules of a class that `fully_shard` has made run a `Call` as their forward pass."""
    if "forward" in vars(sharded):
        return
    plain: Callable[..., Any] = sharded.forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Call):
            return args[0].run()
        return plain(self, *args, **kwargs)

    sharded.forward = forward


def _test_for(blocks: Blocks) -> Callable[[nn.Module], bool]:
    if isinstance(blocks, type):
        return lambda module: isinstance(module, blocks)
    if isinstance(blocks, Sequence):
        classes = tuple(blocks)
        return lambda module: isinstance(module, classes)
    return blocks


@contextlib.contextmanager
def _no_sync(model: nn.Module) -> Iterator[None]:
    if not isinstance(model, FSDPModule):
        yield
        return
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


@contextlib.contextmanager
def _draws_of_rank_zero(world: World) -> Iterator[None]:
    """Inside, all ranks draw the same numbers; afterwards the others draw on where they stood."""
    own = torch.get_rng_state()
    torch.set_rng_state(world.broadcast(own))
    try:
        yield
    finally:
        if not world.is_global_zero:
            torch.set_rng_state(own)


def _copy_from_rank_zero(model: nn.Module, world: World) -> None:
    """`fully_shard` takes each rank's own values for its part: make them the same first."""
    assert world.links is not None  # FSDP is chosen in a world of several ranks only
    for tensor in (*model.parameters(), *model.buffers()):
        group = world.links.side if tensor.device.type == "cpu" else None
        dist.broadcast(tensor.detach(), src=0, group=group)
