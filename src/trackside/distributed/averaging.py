"""Gradients averaged over ranks after the backward pass, where nothing does so meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trackside.errors import UsageError

if TYPE_CHECKING:
    from trackside.distributed.world import World

BUCKET_BYTES = 32 * 2**20
"""Gradients that travel together: the memory for a second copy of them."""


@torch.no_grad()
def average_gradients(world: World, parameters: Iterable[nn.Parameter]) -> None:
    """Put the mean over ranks in the place of each gradient; a collective.

    A rank without a gradient that another one has takes part with zeros, and has the mean then.

    Args:
        world: The ranks.
        parameters: The same on all ranks, in one order; those that want no gradient are passed
            over.

    Raises:
        UsageError: A gradient is sparse.
    """
    wanting = [one for one in dict.fromkeys(parameters) if one.requires_grad]
    if world.size == 1 or not wanting:
        return
    here = torch.tensor([one.grad is not None for one in wanting], dtype=torch.int64)
    anywhere = world.all_reduce(here, "max").tolist()
    there = [one for one, has in zip(wanting, anywhere, strict=True) if has]
    for bucket in _buckets(there):
        gradients = [_gradient_of(one) for one in bucket]
        whole = torch.cat([one.reshape(-1) for one in gradients])
        parts = torch.split(world.all_reduce(whole, "mean"), [one.numel() for one in gradients])
        for parameter, part in zip(bucket, parts, strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()


def _gradient_of(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    if parameter.grad.is_sparse:
        raise UsageError(
            "a sparse gradient can't be averaged over ranks after the backward pass",
            expected="an embedding with sparse=False",
            received=f"a sparse gradient of shape {tuple(parameter.shape)}",
            option="halve_batches_to",
        )
    return parameter.grad


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one type and device, of `BUCKET_BYTES` at most unless one alone has more."""
    bucket: list[nn.Parameter] = []
    size = 0
    for one in parameters:
        other = bool(bucket) and (one.dtype, one.device) != (bucket[0].dtype, bucket[0].device)
        if bucket and (other or size + one.nbytes > BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(one)
        size += one.nbytes
    if bucket:
        yield bucket
