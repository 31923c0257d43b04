"""Tensors that aren't finite before the first step: no sign that training went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from trackside.step.precision import non_finite


def began_infinite(models: Mapping[str, nn.Module]) -> dict[str, frozenset[str]]:
    """Names of what isn't finite now and isn't trained, by model.

    Masks of `-inf` are so for good, and the observers of quantization until they have seen values.
    To be asked before the first step; what is trained has to be finite from the beginning.
    """
    return {name: frozenset(non_finite(_not_trained(model))) for name, model in models.items()}


def _not_trained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_buffers()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter
