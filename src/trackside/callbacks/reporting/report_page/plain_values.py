"""Values of files that anybody may have written, held to their type."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from trackside.errors import printable


def text_of(value: Any) -> str | None:
    """A text that can be printed; None for another value."""
    return printable(value) if isinstance(value, str) else None


def texts_of(value: Any) -> list[str]:
    """The texts in a list, as they can be printed; none of another value."""
    return [printable(one) for one in value if isinstance(one, str)] if type(value) is list else []


def count_of(value: Any, default: int = 0) -> int:
    """A whole number of things, or `default`."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if is_count else default


def number_of(value: Any, default: float) -> float:
    """A finite number, or `default`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    try:
        number = float(value)
    except OverflowError:  # JSON has whole numbers of any length
        return default
    return number if math.isfinite(number) else default


def numbers_of(value: Any) -> dict[str, float]:
    """Numbers by name; other values are 0."""
    if not isinstance(value, Mapping):
        return {}
    return {printable(str(name)): number_of(one, 0.0) for name, one in value.items()}


def objects_of(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list."""
    found: Iterable[Any] = value if isinstance(value, list) else ()
    return [one for one in found if isinstance(one, Mapping)]


def time_of(text: str | None) -> datetime | None:
    """A time in ISO 8601, by UTC where it says no other; None where the text is none."""
    try:
        time = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def shown(value: Any) -> str:
    """Any value as one text: a string as it is, else JSON."""
    return printable(value if isinstance(value, str) else json.dumps(value, default=str))
