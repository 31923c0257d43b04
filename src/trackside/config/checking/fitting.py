"""Whether a value from a file fits the hint of an option, and where inside it doesn't."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from trackside.config.checking.hints import FIXED, LISTS, MAPPINGS, adapt, is_schedule
from trackside.config.checking.wording import describe
from trackside.config.text.document import parse
from trackside.config.text.place import Path
from trackside.config.text.problem import Findings
from trackside.errors import ScheduleError
from trackside.schedule import Unit


@dataclasses.dataclass(frozen=True, slots=True)
class Mismatch:
    """A value that doesn't fit its hint."""

    inside: Path
    """Where in the value: keys and indices from it on."""
    expected: str
    received: Any
    remedy: str | None = None


def check(value: Any, hint: Any, is_made: Callable[[Any], bool]) -> tuple[Any, list[Mismatch]]:
    """The value as the constructor wants it, and what doesn't fit.

    Args:
        value: Plain values from a file, with objects in the place of nested `kind:`s.
        hint: The parameter's annotation; `Any` fits everything.
        is_made: Whether a value stands for a nested `kind:`.
    """
    adapter = _adapter(hint)
    if adapter is None:
        return value, []
    try:
        return adapter.validate_python(value, context=is_made), []
    except ValidationError as error:
        return value, _mismatches(error, value, hint)


@cache
def _adapter_of(hint: Any) -> TypeAdapter[Any] | None:
    config = ConfigDict(arbitrary_types_allowed=True)
    try:
        adapted = adapt(hint)
        own = isinstance(adapted, type) and issubclass(adapted, BaseModel)
        return TypeAdapter(adapted, config=None if own else config)
    except (PydanticUserError, TypeError, NameError):
        return None  # a hint that can't be turned into a rule: the constructor itself decides


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    try:
        return _adapter_of(hint)
    except TypeError:  # not hashable
        return _adapter_of.__wrapped__(hint)


def _mismatches(error: ValidationError, value: Any, hint: Any) -> list[Mismatch]:
    """One mismatch per spot: a union reports each of its members, people need the union once."""
    spots: dict[Path, None] = {}
    for detail in error.errors(include_url=False, include_context=False):
        spots[_spot(detail["loc"], value)] = None
    # A union reports the value as a whole beside a spot inside it: the deeper one says more.
    deepest = [s for s in spots if not any(o != s and o[: len(s)] == s for o in spots)]
    found = []
    for spot in deepest:
        wanted, came = hint_at(hint, spot, value), _at(value, spot)
        found.append(Mismatch(spot, describe(wanted), came, _remedy(came, wanted, error)))
    return found


def _spot(location: tuple[str | int, ...], value: Any) -> Path:
    """The part of pydantic's location that leads into `value`: the rest names union members."""
    spot: list[str | int] = []
    for step in location:
        inside = _at(value, tuple(spot))
        is_index = (
            isinstance(inside, (list, tuple)) and isinstance(step, int) and step < len(inside)
        )
        if is_index or (isinstance(inside, dict) and step in inside):
            spot.append(step)
    return tuple(spot)


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def hint_at(hint: Any, path: Path, value: Any) -> Any:
    """The hint of what stands at `path` inside a value that `hint` describes."""
    for step in path:
        hint = inner_hint(hint, step, isinstance(value, dict))
        value = value[step]
    return hint


def inner_hint(hint: Any, step: str | int, in_mapping: bool) -> Any:
    """The hint of the item or value at `step` in a list or mapping that `hint` describes."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return inner_hint(arguments[0], step, in_mapping)
    if origin in (Union, types.UnionType):
        inner = [inner_hint(a, step, in_mapping) for a in arguments]
        known = [i for i in inner if i is not Any]
        return Union[tuple(known)] if known else Any  # noqa: UP007
    if origin in MAPPINGS and in_mapping and len(arguments) == 2:
        return arguments[1]
    if origin is tuple and not in_mapping and arguments:
        if arguments[-1] is Ellipsis:
            return arguments[0]
        return arguments[step] if isinstance(step, int) and step < len(arguments) else Any
    if (origin in LISTS or origin in FIXED) and not in_mapping and arguments:
        return arguments[0]
    return Any


def _remedy(came: Any, wanted: Any, error: ValidationError) -> str | None:
    if isinstance(came, float) and came.is_integer() and "whole number" in describe(wanted):
        return f"write {int(came)}"
    if is_schedule(wanted):
        if isinstance(came, dict) and len(came.keys() & {*get_args(Unit), "at"}) != 1:
            return "for several, join them: `100 steps or 10 minutes`"
        refusal = error.errors()[0].get("ctx", {}).get("error")
        reason = getattr(refusal, "__cause__", None)
        return reason.remedy if isinstance(reason, ScheduleError) else None
    if isinstance(came, str):
        layer = parse(came, "", Findings())
        unquoted = came if layer is None else layer.value
        if not isinstance(unquoted, str) and not check(unquoted, wanted, lambda _: False)[1]:
            return f"without quotes: {came}"
    return None
