"""Buffers of rank 0 as those of every rank: one model is evaluated, averaged and saved.

In training, each rank's batch norms keep statistics of what that rank has seen. They have no say in
training, so that each rank goes on with its own afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trackside.distributed.state import is_sharded

if TYPE_CHECKING:
    from trackside.distributed.world import World


def buffers_of(models: Iterable[nn.Module]) -> list[Tensor]:
    """The buffers that every rank has as a whole, each once, but for those a model keeps apart."""
    found: dict[int, Tensor] = {}
    for model in models:
        apart: list[str] = getattr(model, "_ddp_params_and_buffers_to_ignore", [])
        found |= {
            id(buffer): buffer
            for name, buffer in model.named_buffers()
            if name not in apart and not is_sharded(buffer)
        }
    return list(found.values())


@torch.no_grad()
def take_from_rank_zero(world: World, tensors: Iterable[Tensor]) -> list[Tensor]:
    """Fill `tensors` with the values of rank 0; a collective, where there are any.

    Args:
        world: The ranks.
        tensors: As many, of the same shapes and types, on every rank.

    Returns:
        Copies of what this rank had; empty in one process, and where nothing differed.
    """
    tensors = [tensor for tensor in tensors if tensor.numel()]
    if world.size == 1 or not tensors:
        return []
    kept = [tensor.clone() for tensor in tensors]
    for some in _alike(tensors):
        whole = torch.cat([tensor.reshape(-1) for tensor in some])
        parts = torch.split(world.broadcast(whole), [tensor.numel() for tensor in some])
        for tensor, part in zip(some, parts, strict=True):
            tensor.copy_(part.reshape(tensor.shape))
    return kept


def _alike(tensors: list[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return groups.values()


@contextmanager
def buffers_of_rank_zero(world: World, models: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, buffers are those of rank 0; afterwards each rank has its own again, bit by bit."""
    if world.size == 1:  # comes several times in an epoch
        yield
        return
    buffers = [buffer for buffer in buffers_of(models.values()) if buffer.numel()]
    kept = take_from_rank_zero(world, buffers)
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, own in zip(buffers, kept, strict=False):
                buffer.copy_(own)
