"""Forms of batches: what a graph of a step is fixed for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from torch import Tensor


def form_of(value: Any) -> Hashable:
    """Structure, shapes and types of a batch, for which a graph is fixed; of numbers, the value."""
    kind = type(value)
    if kind is Tensor:
        return value.shape, value.dtype
    if kind is tuple or kind is list:
        return kind, tuple(map(form_of, value))
    if isinstance(value, Mapping):
        return kind, tuple((key, form_of(one)) for key, one in value.items())
    return value if isinstance(value, (int, float, str, bytes)) else kind.__qualname__
