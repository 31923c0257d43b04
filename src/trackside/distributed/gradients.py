"""Gradient clipping over ranks: by the norm of the whole, wherever its parts are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from trackside.distributed.state import is_sharded


def clip_by_norm(
    parameters: Iterable[nn.Parameter], max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Scale gradients down so that their norm, over all of them and all ranks, is `max_norm`.

    As `torch.nn.utils.clip_grad_norm_`, which it is for parameters that aren't sharded; a model may
    have both kinds. With sharded ones it is a collective.

    Returns:
        The norm before, of shape `()`, the same on every rank.
    """
    parameters = [p for p in parameters if p.grad is not None]
    sharded = [p for p in parameters if is_sharded(p)]
    if not sharded:
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    whole = [p for p in parameters if not is_sharded(p)]
    norms = [_norm(group, norm_type) for group in (sharded, whole) if group]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    for group in (sharded, whole):
        if group:
            torch.nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return norm


def _norm(parameters: list[nn.Parameter], norm_type: float) -> Tensor:
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads, norm_type)
    gather: Callable[[], Tensor] | None = getattr(norm, "full_tensor", None)
    return norm if gather is None else gather()
