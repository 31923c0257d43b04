"""State to JSON and tensors: which values can be saved, and as what.

`split` turns a state (nested dicts, lists and values) into a skeleton that JSON can hold and a
flat dict of tensors; `joining.join` turns them back. What JSON has no word for is an object with a
single key that begins with `$`:

| value | in the skeleton | comes back as |
|---|---|---|
| None, bool, text, list, finite float, int below 2**63 | itself | itself |
| larger int | `{"$int": "-0x1f..."}` | int |
| inf, -inf, nan | `{"$float": "nan"}` | float |
| complex | `{"$complex": [re, im]}` | complex |
| dict with text keys | an object | dict |
| other dict | `{"$dict": [[key, value], ...]}` | dict, in the same order |
| `OrderedDict`, with its `_metadata` | `{"$ordered": [...]}` | the same |
| tuple, set, frozenset | `{"$tuple": [...]}` ... | the same; a named tuple as a plain one |
| deque | `{"$deque": [[...], maxlen]}` | deque |
| enum | `{"$enum": [type, name, value]}` | its plain value, or the member, see `join` |
| path | `{"$path": "runs/a"}` | `Path` |
| datetime, date, time, timedelta | `{"$date": "2026-03-01"}` ... | the same; a zone as offset |
| bytes, bytearray | `{"$bytes": base64}` | bytes |
| numpy scalar | `{"$scalar": [dtype, base64]}` | numpy scalar |
| numpy array | `{"$array": key}` or `{"$array": [key, dtype, shape]}` | array |
| tensor | `{"$tensor": key}` or `{"$tensor": [key, dtype]}` | tensor, contiguous, on the host |
| `HistorySnapshot`, one in a state | `{"$records": count}` | the same; a file beside holds it |
| torch.dtype, torch.Size, torch.device | `{"$dtype": "float32"}` ... | the same |

Two leaves that are the same tensor (tied weights) share a key, and come back as the same tensor.
Nothing in the skeleton names code to run: an enum's type is text, compared with the types that the
caller accepts, never imported.
"""

from __future__ import annotations

import base64
import collections
import datetime
import enum
import io
import math
import pathlib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from trackside.checkpoint.errors import UnsavableStateError
from trackside.checkpoint.tensors import (
    STAND_INS,
    STORED_DTYPES,
    address,
    is_same,
    why_not_savable,
)
from trackside.history import HistorySnapshot

Json = None | bool | int | float | str | list[Any] | dict[str, Any]

DEEPEST = 150
"""Levels of nesting that are saved. JSON readers have limits, and state this deep is a mistake."""

_LISTED_PROBLEMS = 10
_RESERVED_KEY = re.compile(r"__metadata__$|rank-\d+/")

RAW_ARRAY = re.compile(r"[<>|=]?[biufcmMSU]\d+(\[[\w/]+\])?$")
"""numpy dtypes that are plain values: no objects, no records."""


@dataclass(frozen=True, slots=True)
class Split:
    """A state taken apart."""

    skeleton: Json
    tensors: dict[str, Tensor]
    """By key: the path of the (first) leaf that holds it, joined by dots."""
    history: HistorySnapshot | None = None
    """The records in it: they are many, and have a file of their own."""


def split(state: object, *, where: str = "") -> Split:
    """Take `state` apart. Tensors are not copied.

    Args:
        state: Nested dicts, lists, tuples and leaves of the kinds in the module's table.
        where: What comes before every path in an error, for example `"callbacks.ema"`.

    Raises:
        UnsavableStateError: for leaves of other kinds; names each of them (ten at most).
    """
    encoder = _Encoder()
    skeleton = encoder.encode(state, where)
    if encoder.problems:
        raise _unsavable(encoder.problems)
    return Split(skeleton, encoder.tensors, encoder.history)


def check_savable(state: object, *, where: str = "") -> None:
    """Raise `UnsavableStateError` unless `state` could be saved. Writes and copies nothing."""
    split(state, where=where)


def _unsavable(problems: list[str]) -> UnsavableStateError:
    shown = problems[:_LISTED_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return UnsavableStateError(
        "state that can't be saved: " + "; ".join(shown),
        expected="tensors, arrays, numbers, text, None, and dicts, lists, tuples, sets of them",
        remedy="leave it out of `state_dict()`, or save what it can be rebuilt from",
    )


# ------------------------------------------------------------------------------------- to JSON


@dataclass(slots=True)
@final
class _Encoder:
    """Walks a state once, and collects tensors and what doesn't fit."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    history: HistorySnapshot | None = None
    _keys_at: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

    def encode(self, value: Any, path: str) -> Json:
        return value if _is_plain(value) else self._other(value, path)

    def _other(self, value: Any, path: str) -> Json:
        """All that JSON doesn't hold as it is. Tensors first: they are many, and the loop waits."""
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if isinstance(value, _CONTAINERS):
            return self._container(value, path)
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        return self._value(value, path)

    def _container(self, value: Any, path: str) -> Json:
        if id(value) in self._open:
            return self._refuse(path, "it contains itself")
        if len(self._open) >= DEEPEST:
            return self._refuse(path[:80], f"nested deeper than {DEEPEST} levels")
        self._open.add(id(value))
        try:
            if isinstance(value, dict | types.MappingProxyType):
                return self._mapping(value, path)
            if isinstance(value, set | frozenset):
                return self._set(value, path)
            items = (
                list(value)
                if _are_plain_integers(value)
                else [
                    item if _is_plain(item) else self._other(item, f"{path}.{index}")
                    for index, item in enumerate(value)
                ]
            )
            if isinstance(value, torch.Size):
                return {"$size": items}
            if isinstance(value, tuple):
                return {"$tuple": items}
            if isinstance(value, collections.deque):
                return {"$deque": [items, value.maxlen]}
            return items
        finally:
            self._open.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], path: str) -> Json:
        encoded: Json
        if all(type(key) is str and key[:1] != "$" for key in value):
            encoded = {
                key: item if _is_plain(item) else self._other(item, f"{path}.{key}")
                for key, item in value.items()
            }
        else:
            pairs = []
            for key, item in value.items():
                here = f"{path}.{key if isinstance(key, str | int) else repr(key)}"
                pairs.append([self._key(key, here), self.encode(item, here)])
            encoded = {"$dict": pairs}
        if not isinstance(value, collections.OrderedDict):
            return encoded
        # torch keeps the version of each module's state here; load_state_dict looks at it.
        metadata = getattr(value, "_metadata", None)
        return {"$ordered": [encoded, self.encode(metadata, f"{path}._metadata")]}

    def _set(self, value: set[Any] | frozenset[Any], path: str) -> Json:
        items = [self._key(item, f"{path}.{item!r}") for item in value]
        # Sets have no order; the file must be the same for the same state.
        items.sort(key=repr)
        return {"$frozenset" if isinstance(value, frozenset) else "$set": items}

    def _key(self, value: Any, path: str) -> Json:
        """A key of a dict, or a member of a set: it has to come back hashable and equal."""
        if isinstance(value, Tensor | np.ndarray):
            return self._refuse(path, "a tensor as a key or in a set")
        return self.encode(value, path)

    def _tensor(self, value: Tensor, path: str) -> Json:
        reason = why_not_savable(value)
        if reason is not None:
            return self._refuse(path, reason)
        key = self._keep(value, path)
        if value.dtype in STAND_INS:
            return {"$tensor": [key, str(value.dtype).removeprefix("torch.")]}
        return {"$tensor": key}

    def _array(self, value: np.ndarray[Any, Any], path: str) -> Json:
        if type(value) is not np.ndarray:
            return self._refuse(path, f"an array of the class {type(value).__qualname__}")
        plain = np.ascontiguousarray(value).reshape(value.shape)
        if not plain.flags.writeable:
            plain = plain.copy()
        try:
            return {"$array": self._stored_array(plain, path)}
        except TypeError:  # torch has no such dtype: raw bytes, if it has any
            pass
        if not RAW_ARRAY.match(plain.dtype.str):
            return self._refuse(path, f"a numpy array of {plain.dtype}")
        raw = torch.from_numpy(np.array(memoryview(plain.tobytes()), dtype=np.uint8))
        key = self._keep(raw, path)
        return {"$array": [key, plain.dtype.str, list(plain.shape)]}

    def _stored_array(self, plain: np.ndarray[Any, Any], path: str) -> str:
        if not plain.dtype.isnative:
            raise TypeError(plain.dtype.str)
        tensor = torch.from_numpy(plain)
        if tensor.dtype not in STORED_DTYPES:
            raise TypeError(plain.dtype.str)
        return self._keep(tensor, path)

    def _keep(self, value: Tensor, path: str) -> str:
        at = address(value)
        neighbours = self._keys_at.get(at, ())
        for known in neighbours:
            if is_same(self.tensors[known], value):
                return known
        name = key = path.removeprefix(".") or "state"
        if key[:1] in "_r" and _RESERVED_KEY.match(key):
            name = key = f"state/{key}"
        count = 1
        while key in self.tensors:  # {"a.b": x} beside {"a": {"b": y}}
            count += 1
            key = f"{name}#{count}"
        self.tensors[key] = value
        if at:
            self._keys_at[at] = (*neighbours, key)
        return key

    def _value(self, value: Any, path: str) -> Json:
        if isinstance(value, enum.Enum):
            kind = type(value)
            plain = self.encode(value.value, f"{path}.value")
            return {"$enum": [f"{kind.__module__}.{kind.__qualname__}", value.name, plain]}
        if isinstance(value, np.generic) and not isinstance(value, str | bytes):
            if not RAW_ARRAY.match(value.dtype.str):
                return self._refuse(path, f"a numpy scalar of {value.dtype}")
            return {"$scalar": [value.dtype.str, _base64(value.tobytes())]}
        if isinstance(value, HistorySnapshot):
            return self._records(value, path)
        for kind, encode in _VALUES.items():
            if isinstance(value, kind):
                return encode(value)
        return self._refuse(path, describe(value))

    def _records(self, value: HistorySnapshot, path: str) -> Json:
        if self.history is not None:
            return self._refuse(path, "a second history; save its `state_dict()`")
        self.history = value
        return {"$records": value.count}

    def _refuse(self, path: str, reason: str) -> Json:
        self.problems.append(f"{path.removeprefix('.') or 'state'}: {reason}")
        return None


def _is_plain(value: object) -> bool:
    """Whether JSON holds `value` as it is. Asked of every leaf: a history has many."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    if kind is int:
        return -(2**63) <= value < 2**63  # type: ignore[operator]
    return kind is str or kind is bool or value is None


def _are_plain_integers(values: Sequence[Any]) -> bool:
    """Whether all of them are, without a look at each: a generator of Python has 625."""
    return set(map(type, values)) == {int} and min(values) >= -(2**63) and max(values) < 2**63


_CONTAINERS = (
    dict,
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    types.MappingProxyType,
)


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


def _timedelta(value: datetime.timedelta) -> Json:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


# In this order: a datetime is a date, a bool is an int, and subclasses count as their base.
_VALUES: dict[type, Callable[[Any], Json]] = {
    bool: bool,
    int: lambda value: int(value) if abs(value) < 2**63 else {"$int": hex(int(value))},
    float: lambda value: (
        float(value) if math.isfinite(value) else {"$float": float.__repr__(value)}
    ),
    str: str.__str__,
    complex: lambda value: {"$complex": [_real(value.real), _real(value.imag)]},
    bytes: lambda value: {"$bytes": _base64(value)},
    bytearray: lambda value: {"$bytes": _base64(value)},
    pathlib.PurePath: lambda value: {"$path": str(value)},
    datetime.datetime: lambda value: {"$datetime": value.isoformat()},
    datetime.date: lambda value: {"$date": value.isoformat()},
    datetime.time: lambda value: {"$time": value.isoformat()},
    datetime.timedelta: _timedelta,
    torch.dtype: lambda value: {"$dtype": str(value).removeprefix("torch.")},
    torch.device: lambda value: {"$device": str(value)},
}


def _real(value: float) -> Json:
    return value if math.isfinite(value) else repr(value)


def describe(value: object) -> str:
    """Description of `value` for error messages."""
    if isinstance(value, io.IOBase):
        return "an open file"
    if isinstance(value, torch.nn.Module):
        return f"a module ({type(value).__qualname__}); save its `state_dict()`"
    if isinstance(value, torch.optim.Optimizer):
        return f"an optimizer ({type(value).__qualname__}); save its `state_dict()`"
    if isinstance(value, torch.Generator):
        return "a torch.Generator; save its `get_state()`"
    if isinstance(value, np.random.Generator):
        return "a numpy Generator; save its `bit_generator.state`"
    if isinstance(value, type):
        return f"a class ({value.__qualname__})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"a function ({value.__qualname__})"
    if isinstance(value, Iterator):
        return f"an iterator ({type(value).__qualname__})"
    return f"an object of the class {type(value).__module__}.{type(value).__qualname__}"
