"""Gradients as values to look at, and their clipping: over ranks, by the norm of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from trackside.distributed.state import is_sharded, local_parts


def values_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients, to be looked at or changed in place; of sparse ones, the values they hold."""
    found = map(value_of, parameters)
    return [gradient for gradient in found if gradient is not None]


def value_of(parameter: nn.Parameter) -> Tensor | None:
    """The gradient, to be looked at or changed in place; of a sparse one, the values it holds."""
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = parameter.grad.coalesce()  # each row once, as for the optimizer
        return parameter.grad.values()
    return parameter.grad


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
    if any(p.grad is not None and p.grad.is_sparse for p in parameters):
        return _clip_values(values_of(parameters), max_norm, norm_type)
    if not sharded:
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    whole = [p for p in parameters if not is_sharded(p)]
    norms = [_norm(group, norm_type) for group in (sharded, whole) if group]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    for group in (sharded, whole):
        if group:
            torch.nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return norm


def clip_by_value(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Limit each gradient to `-limit` ... `limit`; of a sharded one, each rank limits its part."""
    parts = local_parts(values_of(parameters))
    if parts:
        torch._foreach_clamp_min_(parts, -limit)
        torch._foreach_clamp_max_(parts, limit)


def _clip_values(gradients: list[Tensor], max_norm: float, norm_type: float) -> Tensor:
    """As torch does, which has no way for sparse gradients: `gradients` are their values."""
    norm = torch.nn.utils.get_total_norm(gradients, norm_type)
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device))
    return norm


def _norm(parameters: list[nn.Parameter], norm_type: float) -> Tensor:
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads, norm_type)
    gather: Callable[[], Tensor] | None = getattr(norm, "full_tensor", None)
    return norm if gather is None else gather()
