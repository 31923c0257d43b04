"""Names of parameters in a run: with several models, that of the model comes first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import nn


def prefix(name: str, models: Collection[str], separator: str = ".") -> str:
    """Prefix of the names inside the model `name`; empty where it is the only model.

    Args:
        name: Name of the model.
        models: Names of all models of the run.
        separator: Between the model's name and what follows.
    """
    return f"{name}{separator}" if len(models) > 1 else ""


def prefixed(models: Mapping[str, nn.Module]) -> list[tuple[str, nn.Module]]:
    """The models, each with the prefix of the names inside it."""
    return [(prefix(name, models), model) for name, model in models.items()]


def named_parameters(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of all models by name: `layer.weight`, of several `generator.layer.weight`."""
    for before, model in prefixed(models):
        for name, parameter in model.named_parameters():
            yield before + name, parameter
