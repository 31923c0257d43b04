"""Models through torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn


def compile_models(models: Iterable[nn.Module], asked: bool | Mapping[str, Any]) -> None:
    """Compile each of `models` in place, at its first call.

    Args:
        models: They keep their class, parameters and names.
        asked: Whether; a mapping gives the options of `torch.compile`.
    """
    if not asked:
        return
    options = asked if isinstance(asked, Mapping) else {}
    for model in models:
        _compile(model, options)


def _compile(model: nn.Module, options: Mapping[str, Any]) -> None:
    call: Callable[..., Any] = model._call_impl

    # `model.compile()` with a frame that is ours: torch passes over frames of its own modules, so
    # an nn.Sequential would be computed uncompiled, without a word.
    def forward(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    model._compiled_call_impl = torch.compile(forward, **options)
