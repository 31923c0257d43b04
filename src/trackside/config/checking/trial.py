"""Constructors that are cheap and known refuse their options before anything is started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trackside.config.checking.blueprint import Blueprint
from trackside.config.text.problem import ExperimentError, Problem
from trackside.machine import randomness

_KNOWN = ("trackside.", "torch.", "torchmetrics.")
"""Packages whose constructors only keep their options: others may load or open something."""


def refusals(blueprints: Iterable[Blueprint]) -> list[Problem]:
    """Problems that constructors of callbacks, losses and metrics have with their options."""
    found: list[Problem] = []
    with randomness.preserved():
        for blueprint in blueprints:
            if blueprint.name.startswith(_KNOWN):
                try:
                    blueprint.build()
                except ExperimentError as error:
                    found += error.problems
    return found


def optimizer_refusals(optimizer: Blueprint | None, scheduler: Blueprint | None) -> list[Problem]:
    """Problems that an optimizer of torch, and its scheduler, have with their options."""
    if optimizer is None or not optimizer.name.startswith("torch."):
        return []
    try:
        with optimizer.refusals():
            # A matrix: some optimizers take nothing else.
            made = _on_trial(optimizer).build()([nn.Parameter(torch.zeros(1, 1))])
        if scheduler is not None and scheduler.name.startswith(_KNOWN):
            with scheduler.refusals():
                scheduler.build()(made)
    except ExperimentError as error:
        return list(error.problems)
    return []


class _WithoutCompiler(Optimizer):
    """Holds the options of an optimizer on trial, and its groups, as schedulers look at them.

    The constructor of torch makes torch import its compiler, which takes longer than everything
    else that is done about a file.
    """

    def __init__(self, params: Iterable[nn.Parameter], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups = [{**defaults, "params": list(params)}]


def _on_trial(optimizer: Blueprint) -> Blueprint:
    """The same, with `_WithoutCompiler` between its class and torch's `Optimizer`."""
    made = optimizer.target
    if not (isinstance(made, type) and issubclass(made, Optimizer)):
        return optimizer
    return replace(optimizer, target=type(made.__name__, (made, _WithoutCompiler), {}))
