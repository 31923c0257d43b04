"""Differences between two states, or two objects, with their paths."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

_DEEPEST = 12
_ABSENT = object()
_COMPARED_WHOLE = (
    str,
    bytes,
    Tensor,
    np.ndarray,
    type,
    FunctionType,
    MethodType,
    BuiltinMethodType,
    ModuleType,
)


def differing(one: Any, other: Any) -> list[str]:
    """Paths at which two nested values differ, by their bits: `average.0`, `count`."""
    left, right = dict(leaves(one)), dict(leaves(other))
    paths = [*left, *(path for path in right if path not in left)]
    return [p for p in paths if not _same(left.get(p, _ABSENT), right.get(p, _ABSENT))]


def leaves(value: Any, path: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Pairs of path and leaf of nested mappings, sequences, sets and objects."""
    if len(around) >= _DEEPEST or id(value) in around:
        return
    inside = (*around, id(value))
    if isinstance(value, Mapping):
        yield f"{path} (keys)", tuple(map(str, value))
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else str(key), inside)
    elif isinstance(value, (list, tuple)):
        yield f"{path} (length)", len(value)
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}.{index}" if path else str(index), inside)
    elif isinstance(value, (set, frozenset)):
        yield path, sorted(map(repr, value))
    elif isinstance(value, functools.partial):
        yield from leaves((value.func, value.args, value.keywords), path, inside)
    elif (attributes := _attributes(value)) is not None:
        yield f"{path} (class)", type(value).__qualname__
        yield from leaves(attributes, path, inside)
    else:
        yield path, value


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of a class written in Python, where it is compared by them."""
    if isinstance(value, _COMPARED_WHOLE):
        return None
    slots = {name for cls in type(value).__mro__ for name in vars(cls).get("__slots__", ())}
    if not slots and not hasattr(value, "__dict__"):
        return None
    slotted = {name: getattr(value, name) for name in sorted(slots) if hasattr(value, name)}
    return {**slotted, **getattr(value, "__dict__", {})}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and _same(one.detach().numpy(), other.detach().numpy())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (FunctionType, MethodType)):
        return getattr(one, "__qualname__", 0) == getattr(other, "__qualname__", 1)
    if isinstance(one, BuiltinMethodType):
        return repr(one).partition(" at ")[0] == repr(other).partition(" at ")[0]
    if type(one) is not type(other):
        return False
    equal: Any = type(one).__eq__
    # Locks and the like have nothing to be compared by.
    return equal is object.__eq__ or bool(one == other)
