"""DDP: every rank has the whole model, and gradients are averaged while they are computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trackside.distributed.parallel import Call, ModelSource, Parallel, Passes, build
from trackside.errors import ConfigurationError
from trackside.progress import whole_number
from trackside.vocabulary.option_types import holds_options

if TYPE_CHECKING:
    from trackside.distributed.world import World


T = TypeVar("T")


@final
@holds_options
@dataclass(frozen=True)
class DDP(Parallel):
    """Data parallel training by torch's `DistributedDataParallel`.

    Args:
        find_unused_parameters: Parameters may take no part in a step (several heads, a GAN); costs
            a walk through the graph per step.
        static_graph: The same parameters take part in every step; lets torch skip that walk.
        gradient_as_bucket_view: Gradients are views of the communication buffers: saves one copy
            of all gradients in memory.
        sync_batchnorm: Batch norms compute their statistics over all ranks (accelerators only).
        sync_buffers: Buffers (batch norm's statistics) are those of rank 0 in every forward.
        bucket_megabytes: Gradients travel in pieces of this size; None leaves it to torch.
    """

    find_unused_parameters: bool = False
    static_graph: bool = False
    gradient_as_bucket_view: bool = True
    sync_batchnorm: bool = False
    sync_buffers: bool = True
    bucket_megabytes: int | None = None

    follows_flags = False
    forward_is_collective = False  # of the unwrapped model, which evaluation calls

    def __post_init__(self) -> None:
        if self.bucket_megabytes is not None:
            whole_number(self.bucket_megabytes, "bucket_megabytes", at_least=1)

    @property
    def keeps_buffers(self) -> bool:
        """Unless those of rank 0 are put into every forward pass."""
        return not self.sync_buffers

    def place(self, source: ModelSource, world: World) -> nn.Module:
        """Move the model to the device and wrap it; torch copies rank 0's weights to the others.

        Raises:
            ConfigurationError: `sync_batchnorm` on the CPU, where torch has no such batch norm.
        """
        model = build(source)
        if self.sync_batchnorm:
            if world.device.type == "cpu":
                raise ConfigurationError(
                    "sync_batchnorm needs an accelerator",
                    received="ranks on the CPU",
                    remedy="leave it out, or replace BatchNorm by GroupNorm or LayerNorm",
                    option="sync_batchnorm",
                )
            convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
            model = convert(model)
        model = model.to(world.device)
        if not any(p.requires_grad for p in model.parameters()):
            return model  # nothing to average (a frozen teacher); torch refuses to wrap it
        wrapped = DistributedDataParallel(
            Passes(model),
            device_ids=None if world.device.type == "cpu" else [world.device],
            find_unused_parameters=self.find_unused_parameters,
            static_graph=self.static_graph,
            gradient_as_bucket_view=self.gradient_as_bucket_view,
            bucket_cap_mb=self.bucket_megabytes,
        )
        if world.size > 2 and not self.find_unused_parameters:
            order_buckets(wrapped)
        # The argument of this name is deprecated in torch 2.13, and its successor new there; the
        # attribute works in all versions.
        wrapped.broadcast_buffers = self.sync_buffers
        return wrapped

    def around(self, model: nn.Module, call: Callable[[], T], *, begins: bool = True) -> T:
        """See `Parallel`: the whole of `call` is one forward pass of torch's wrapper."""
        if not isinstance(model, DistributedDataParallel):
            return call()
        result: T
        if begins or not model.broadcast_buffers:
            result = model(Call(call))
            return result
        model.broadcast_buffers = False
        try:
            result = model(Call(call))
        finally:
            model.broadcast_buffers = True
        return result

    def no_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Gradients stay on this rank; the first backward outside averages all of them."""
        no_sync: Callable[[], AbstractContextManager[None]] = model.no_sync  # type: ignore[assignment]
        return no_sync()

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The module inside."""
        inside = model.module.model if isinstance(model, DistributedDataParallel) else model
        return cast("nn.Module", inside)


def order_buckets(wrapped: DistributedDataParallel) -> None:
    """Let torch arrange its buckets before the first step, by a backward pass of zeros.

    Torch sorts the gradients into new buckets after the first backward pass, unless it looks for
    unused parameters. On three ranks and more, the order in which a sum is taken depends on the
    place in a bucket: the first step after a resume would differ from the same step of an unbroken
    run in its last bits. Now all steps of all runs have the same buckets.

    A static graph must not see another pass than those of the steps: there torch sorts by the order
    of the parameters, which needs none.
    """
    if wrapped.static_graph:
        wrapped.reducer._push_all_rebuilt_params()
        wrapped.reducer._rebuild_buckets()
        return
    tables = {id(m.weight) for m in wrapped.modules() if isinstance(m, _TABLES) and m.sparse}
    parameters = [p for p in wrapped.parameters() if p.requires_grad]
    synchronised = wrapped.broadcast_buffers
    wrapped.broadcast_buffers = False
    zero = wrapped(Call(lambda: sum(_nothing_of(p, id(p) in tables) for p in parameters)))
    wrapped.broadcast_buffers = synchronised
    zero.backward()
    for parameter in parameters:
        parameter.grad = None


_TABLES = (nn.Embedding, nn.EmbeddingBag)


def _nothing_of(parameter: nn.Parameter, is_sparse: bool) -> Tensor:
    """Zero, whose gradient is one of zeros: sparse where those of the steps are."""
    if is_sparse:
        row = torch.zeros(1, dtype=torch.int64, device=parameter.device)
        return nn.functional.embedding(row, parameter, sparse=True).sum() * 0
    return parameter.reshape(-1)[:1].sum() * 0
