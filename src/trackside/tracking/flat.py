"""Nested settings as one flat mapping, as trackers like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}, "c": [2]}` becomes `{"a/b": 1, "c/0": 2}`; empty containers are kept."""
    items: list[tuple[Any, Any]]
    if isinstance(settings, Mapping):
        items = list(settings.items())
    elif isinstance(settings, Sequence) and not isinstance(settings, (str, bytes)):
        items = list(enumerate(settings))
    else:
        items = []
    if not items:
        return {prefix: settings} if prefix else {}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{prefix}/{key}" if prefix else str(key))
    return found
