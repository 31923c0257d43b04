"""JSON and tensors back to state: values of the kinds in the table of `splitting`, no others.

Nothing in a skeleton is looked up by name, imported or called: what it says is text until a rule
here makes a value of it.
"""

from __future__ import annotations

import base64
import collections
import datetime
import enum
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from trackside.checkpoint.splitting import DEEPEST, RAW_ARRAY, Json
from trackside.checkpoint.tensors import DTYPES_BY_NAME, restore_stand_in
from trackside.history import HistorySnapshot
from trackside.records import Columns


def join(
    skeleton: Json,
    tensors: Mapping[str, Tensor],
    *,
    enums: Iterable[type[enum.Enum]] = (),
    history: HistorySnapshot | None = None,
    lacks_records: bool = False,
) -> Any:
    """Put a state together again: the inverse of `split`.

    Args:
        skeleton: What `split` returned, through JSON.
        tensors: The tensors by key.
        enums: Types whose members are restored as members. A member of any other type comes
            back as its value: the name of a type in a file is never looked up.
        history: The records that stand beside the skeleton.
        lacks_records: Whether they are known to be lost: a history is then an empty one.

    Raises:
        ValueError: when the skeleton isn't one that `split` makes.
    """
    if lacks_records:
        history = HistorySnapshot(Columns(), 0)
    return _Decoder(tensors, enums, history, check=not lacks_records).decode(skeleton, 0)


@dataclass(frozen=True, slots=True)
class TensorLeaf:
    """A place in a state where a tensor or an array stands."""

    path: str
    key: str
    dtype: str | None
    """Its own dtype, where the file holds it under another."""
    shape: list[int] | None = None
    """Its own shape, where the file holds it as plain bytes."""


def tensor_leaves(skeleton: Json, path: str = "") -> Iterator[TensorLeaf]:
    """Every tensor and array in a skeleton, in order. Raises `ValueError` as `join` does."""
    if isinstance(skeleton, list):
        for index, item in enumerate(skeleton):
            yield from tensor_leaves(item, f"{path}.{index}")
    elif isinstance(skeleton, dict):
        for name, item in skeleton.items():
            if name in ("$tensor", "$array"):
                parts = item if isinstance(item, list) else [item]
                key, dtype, shape = (*parts, None, None)[:3]
                yield TensorLeaf(path.removeprefix(".") or "state", key, dtype, shape)
            elif name == "$dict":
                for key, value in item:
                    yield from tensor_leaves(value, f"{path}.{key}")
            elif name in ("$ordered", "$deque"):
                yield from tensor_leaves(item[0], path)
            else:
                yield from tensor_leaves(item, path if name[:1] == "$" else f"{path}.{name}")


@final
class _Decoder:
    """Walks a skeleton once. Trusts nothing in it but what the table of tags allows."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        enums: Iterable[type[enum.Enum]],
        history: HistorySnapshot | None,
        *,
        check: bool,
    ) -> None:
        self._tensors = tensors
        self._check_records = check
        self._history = history
        self._restored: dict[str, Tensor] = {}
        self._enums = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in enums}

    def decode(self, value: Json, depth: int) -> Any:
        if isinstance(value, list):
            self._check(depth)
            return [self.decode(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        self._check(depth)
        if len(value) == 1:
            (name,) = value
            if name.startswith("$"):
                return self._tagged(name, value[name], depth + 1)
        if any(name.startswith("$") for name in value):
            raise ValueError(f"an object with a tag among its keys: {sorted(value)[:5]}")
        return {name: self.decode(item, depth + 1) for name, item in value.items()}

    def _check(self, depth: int) -> None:
        # A level of state is at most three of JSON, as in {"$dict": [[key, value]]}.
        if depth > 3 * DEEPEST:
            raise ValueError("nested deeper than any state that is saved")

    def _tagged(self, name: str, value: Any, depth: int) -> Any:
        try:
            if name == "$tensor":
                return self._tensor(value)
            if name == "$array":
                return self._array(value)
            if name == "$records":
                return self._records(value)
            if name == "$enum":
                return self._enum(value, depth)
            if name in _SEQUENCES:
                return _SEQUENCES[name]([self.decode(item, depth) for item in value])
            if name == "$dict":
                return {self.decode(k, depth): self.decode(v, depth) for k, v in value}
            if name == "$ordered":
                return self._ordered(value, depth)
            if name == "$deque":
                items, longest = value
                return collections.deque([self.decode(i, depth) for i in items], longest)
            if name in _TAGS:
                return _TAGS[name](value)
        except _WRONG as error:
            raise ValueError(f"`{name}` holds what it can't: {error}") from error
        raise ValueError(f"`{name}` is not a tag of this format")

    def _tensor(self, value: Any) -> Tensor:
        if isinstance(value, str):
            return self._tensors[value]
        key, dtype = value
        if key not in self._restored:
            self._restored[key] = restore_stand_in(self._tensors[key], DTYPES_BY_NAME[dtype])
        return self._restored[key]

    def _array(self, value: Any) -> np.ndarray[Any, Any]:
        if isinstance(value, str):
            array: np.ndarray[Any, Any] = self._tensors[value].numpy()
            return array
        key, dtype, shape = value
        if not RAW_ARRAY.match(dtype):
            raise ValueError(f"no dtype of plain values: {dtype!r}")
        raw = self._tensors[key].numpy().tobytes()
        # Measured before anything is made: a shape in a file is a claim.
        if math.prod(shape) * np.dtype(dtype).itemsize != len(raw) or min(shape, default=0) < 0:
            raise ValueError(f"an array of shape {shape} in {len(raw)} bytes")
        made: np.ndarray[Any, Any] = np.ndarray(shape, dtype, bytearray(raw) if raw else None)
        return made

    def _records(self, count: Any) -> HistorySnapshot:
        if self._history is None or (self._check_records and self._history.count != count):
            found = "none" if self._history is None else str(self._history.count)
            raise ValueError(f"{count} records were saved, and {found} are there")
        return self._history

    def _enum(self, value: Any, depth: int) -> Any:
        type_name, name, plain = value
        kind = self._enums.get(type_name)
        if kind is None:
            return self.decode(plain, depth)
        # By name where there is one: values made by auto() move when members are added.
        member = kind.__members__.get(name) if isinstance(name, str) else None
        return member if member is not None else kind(self.decode(plain, depth))

    def _ordered(self, value: Any, depth: int) -> Any:
        items, metadata = value
        ordered = collections.OrderedDict(self.decode(items, depth))
        if metadata is not None:
            ordered._metadata = self.decode(metadata, depth)  # type: ignore[attr-defined]
        return ordered


_WRONG = (TypeError, KeyError, AttributeError, ValueError, OverflowError, RuntimeError)


def _scalar(value: Any) -> Any:
    dtype, data = value
    if not RAW_ARRAY.match(dtype):
        raise ValueError(f"no dtype of plain values: {dtype!r}")
    return np.frombuffer(base64.b64decode(data, validate=True), dtype=np.dtype(dtype))[0]


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"torch.{name} is not a dtype")
    return found


_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$size": torch.Size,
}

_TAGS: dict[str, Callable[[Any], Any]] = {
    "$int": lambda value: int(value, 16),
    "$float": float,
    "$complex": lambda value: complex(float(value[0]), float(value[1])),
    "$bytes": lambda value: base64.b64decode(value, validate=True),
    "$path": pathlib.Path,
    "$datetime": datetime.datetime.fromisoformat,
    "$date": datetime.date.fromisoformat,
    "$time": datetime.time.fromisoformat,
    "$timedelta": lambda value: datetime.timedelta(*value),
    "$scalar": _scalar,
    "$dtype": _dtype,
    "$device": torch.device,
}
