"""Modules that a trainer keeps as attributes, and that its run doesn't know."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from torch import nn

logger = logging.getLogger("trackside")

_OPTIONS = ("model", "loss", "metrics", "callbacks", "_models")
"""Attributes whose modules a run knows."""


def report(trainer: object, known: Iterable[nn.Module]) -> None:
    """Log which modules among a trainer's attributes the run neither moves nor saves.

    As a warning where they have parameters that want gradients: those may be trained, and would be
    lost with the run. Modules without parameters and buffers need nothing.

    Args:
        trainer: Whose attributes are looked at; lists and mappings of modules as well.
        known: The run's models, and its loss.
    """
    owned = {id(part) for module in known for part in module.modules()}
    for name, module in _modules(vars(trainer)):
        parts = [*module.parameters(), *module.buffers()]
        if id(module) in owned or not parts:
            continue
        wants = any(part.requires_grad for part in parts)
        logger.log(
            logging.WARNING if wants else logging.INFO,
            "`%s.%s` is a module that is not among the run's models: it isn't moved to the device, "
            "its mode isn't set, and no checkpoint has its weights%s; to fix: return it from "
            "`configure_model`, as `{'model': ..., %r: ...}`, and use `run.models[%r]`",
            type(trainer).__name__,
            name,
            " (it has parameters that want gradients)" if wants else "",
            name.partition("[")[0],
            name.partition("[")[0],
        )


def _modules(attributes: Mapping[str, object]) -> Iterator[tuple[str, nn.Module]]:
    for name, value in attributes.items():
        if name in _OPTIONS:
            continue
        if isinstance(value, nn.Module):
            yield name, value
        elif isinstance(value, (list, tuple, Mapping)):
            parts = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, part in parts:
                if isinstance(part, nn.Module):
                    yield f"{name}[{key!r}]", part
