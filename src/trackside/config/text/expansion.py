"""How large a configuration becomes when its interpolations are filled in, before that is done.

Ten references to ten references, nine times over, are a kilobyte of text and a gigabyte of values.
The size is estimated from what is written, never below the true one: a reference that can mean
several values counts as the largest of them.
"""

from __future__ import annotations

import re
from typing import Any

from trackside.config.text.place import Path, dotted

MOST_CHARACTERS = 100_000
"""Of all interpolations of a configuration together, filled in."""
DEEPEST = 50
"""References that lead to one another."""

_MOST_OPEN = 300  # nesting and references together; what is read of a file is nested to 100
_CHAIN = f"a chain of more than {DEEPEST} references"

_BODY = re.compile(r"(?<!\\)\$\{")
_TOKEN = re.compile(r"[\w.\[\]-]+")


class TooLargeError(ValueError):
    """Filled in, it is larger than any configuration."""


class Expansion:
    """Sizes of the values of one configuration, by path."""

    def __init__(self, written: Any) -> None:
        self._values: dict[Path, Any] = {}
        self._collect(written, ())
        self._by_name = {dotted(path): path for path in self._values}
        self._sizes: dict[Path, int] = {}
        self._depths: dict[Path, int] = {}
        self._open: set[Path] = set()

    def interpolations(self) -> list[Path]:
        """Where interpolations are written."""
        return [path for path, value in self._values.items() if _is_interpolated(value)]

    def size(self, path: Path) -> int:
        """Characters of the value at `path`, filled in; at least one per value.

        Raises:
            TooLargeError: More than `MOST_CHARACTERS`, or a chain longer than `DEEPEST`.
        """
        if path in self._sizes:
            return self._sizes[path]
        if path in self._open:
            return 0  # it refers to itself: that is refused when it is filled in
        if len(self._open) > _MOST_OPEN:
            raise TooLargeError(_CHAIN)
        self._open.add(path)
        try:
            found = self._measure(path)
        finally:
            self._open.discard(path)
        if found > MOST_CHARACTERS:
            raise TooLargeError(f"more than {MOST_CHARACTERS:,} characters, filled in")
        self._sizes[path] = found
        return found

    def _measure(self, path: Path) -> int:
        value = self._values[path]
        if isinstance(value, (dict, list)):
            keys: Any = value if isinstance(value, dict) else range(len(value))
            inner = [(*path, key) for key in keys]
            total = 1 + sum(map(self.size, inner))
            self._depths[path] = max((self._depths.get(one, 0) for one in inner), default=0)
            return total
        total = 1 + (len(value) if isinstance(value, str) else 0)
        if _is_interpolated(value):
            start = _BODY.search(value)
            assert start is not None
            body = value[start.start() :]
            meant = [self._meant(token, path) for token in _TOKEN.findall(body)]
            meant += [[p for p in self._values if p != path]] * body.count("${${")
            for several in meant:
                total += max(map(self.size, several), default=0)
            depths = (self._depths.get(one, 0) for several in meant for one in several)
            self._depths[path] = 1 + max(depths, default=0)
            if self._depths[path] > DEEPEST:
                raise TooLargeError(_CHAIN)
        return total

    def _meant(self, token: str, path: Path) -> list[Path]:
        """Values that a word inside an interpolation may refer to."""
        name = token.replace("[", ".").replace("]", "").strip(".")
        if name in self._by_name and not token.startswith("."):
            return [self._by_name[name]]
        if token.startswith("."):  # relative: whatever ends so
            ends = (p for n, p in self._by_name.items() if n == name or n.endswith(f".{name}"))
            return [one for one in ends if one != path]
        if token.endswith("."):  # `${a.${b}}`: whatever begins so
            return [p for n, p in self._by_name.items() if n.startswith(f"{name}.") and p != path]
        return []

    def _collect(self, value: Any, path: Path) -> None:
        self._values[path] = value
        if isinstance(value, dict):
            for key, inner in value.items():
                self._collect(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._collect(inner, (*path, index))


def too_large(written: Any) -> dict[Path, str]:
    """Interpolations that must not be filled in, by path, with the reason."""
    expansion = Expansion(written)
    refused: dict[Path, str] = {}
    total = 0
    for path in expansion.interpolations():
        try:
            total += expansion.size(path)
        except TooLargeError as error:
            refused[path] = str(error)
            continue
        if total > MOST_CHARACTERS:
            refused[path] = f"more than {MOST_CHARACTERS:,} characters, with those before it"
    return refused


def without(written: Any, refused: dict[Path, str], path: Path = ()) -> Any:
    """A copy of `written` with null at the paths of `refused`."""
    if path in refused:
        return None
    if isinstance(written, dict):
        return {key: without(inner, refused, (*path, key)) for key, inner in written.items()}
    if isinstance(written, list):
        return [without(inner, refused, (*path, i)) for i, inner in enumerate(written)]
    return written


def _is_interpolated(value: Any) -> bool:
    return isinstance(value, str) and _BODY.search(value) is not None
