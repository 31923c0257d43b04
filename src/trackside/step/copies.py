"""Copies of what a step changes: tensors in states and options, however they are nested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def copied(value: Any) -> Any:
    """A value with copies of its tensors and arrays, in dicts, lists and tuples as well.

    The copies are on the device of the tensor, without its graph. Anything else is the same object.

    Example:
        >>> state = {"step": torch.ones(1), "betas": (0.9, 0.99)}
        >>> kept = copied(state)
        >>> state["step"].add_(1), kept["step"], kept["betas"]
        (tensor([2.]), tensor([1.]), (0.9, 0.99))
    """
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, list):
        return [copied(part) for part in value]
    if isinstance(value, tuple):
        parts = [copied(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value.copy() if hasattr(value, "tobytes") else value
