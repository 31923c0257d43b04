"""Hints and values in words, for messages and pages."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import os
import pathlib
import textwrap
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from trackside.config.checking.hints import (
    FIXED,
    LISTS,
    MAPPINGS,
    PYDANTIC_TYPES,
    classes_in,
    full_name,
    is_schedule,
)
from trackside.secret import is_secret

_LONGEST_TEXT = 60
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}


def describe(hint: Any) -> str:
    """Form of a value for `hint` in a file, in words."""
    if hint is None or hint is types.NoneType:
        return "null"
    if hint in _WORDS:
        return _WORDS[hint]
    if is_schedule(hint):
        words = "a schedule such as `100 steps`, `1 epoch` or `10 minutes`"
        return words + (" or null" if types.NoneType in get_args(hint) else "")
    if isinstance(hint, TypeVar):
        return describe(hint.__bound__ or Any)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if is_secret(hint):
            return f"{describe(arguments[0])}, kept secret"
        limits = [text for meta in arguments[1:] if (text := _limit(meta))]
        return " ".join([describe(arguments[0]), *limits])
    if origin in (Union, types.UnionType):
        return _describe_union(arguments)
    if origin is Literal:
        shown = [one if isinstance(one, str) else show(one) for one in arguments]
        return shown[0] if len(shown) == 1 else "one of " + ", ".join(shown)
    return _describe_class(hint, origin or hint, arguments)


def _describe_union(members: tuple[Any, ...]) -> str:
    plain = [m for m in members if not _is_opaque_member(m)] or list(members)
    if all(m is types.NoneType for m in plain):
        plain = list(members)
    words = [describe(m) for m in plain if m is not types.NoneType]
    if types.NoneType in members:
        words.append("null")
    return " or ".join(dict.fromkeys(words))


def _is_opaque_member(hint: Any) -> bool:
    return hint is not types.NoneType and bool(classes_in(hint)) and get_origin(hint) is None


def _describe_class(hint: Any, bare: Any, arguments: tuple[Any, ...]) -> str:
    if bare is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}: " + ", ".join(map(describe, arguments))
    if bare in LISTS or bare in FIXED:
        each = describe(arguments[0]) if arguments and arguments[0] is not Any else ""
        return f"a list, each item {each}" if each else "a list"
    if bare in MAPPINGS:
        each = describe(arguments[1]) if len(arguments) > 1 and arguments[1] is not Any else ""
        return f"a mapping, each value {each}" if each else "a mapping"
    if hint is Any or hint is object or hint is inspect.Parameter.empty:
        return "any value"
    if bare is os.PathLike or (isinstance(bare, type) and issubclass(bare, pathlib.PurePath)):
        return "a path"
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in bare)
    if full_name(hint) == "torch.device":
        return "a device such as cpu, cuda or cuda:1"
    if full_name(hint) == "torch.dtype":
        return "a dtype such as float32 or bfloat16"
    if bare is collections.abc.Callable:
        return "a function (a mapping with `kind:`)"
    if bare is type:
        return "a class (a mapping with `kind:` and `partial: true`)"
    if isinstance(bare, type) and issubclass(bare, PYDANTIC_TYPES):
        return a(bare.__name__)
    return f"{a(getattr(bare, '__name__', str(bare)))} (a mapping with `kind:`)"


def a(noun: str) -> str:
    """A noun with its article."""
    return f"{'an' if noun[0] in 'AEIOaeio' else 'a'} {noun}"


def show(value: Any) -> str:
    """A value that came, as it would be written, with its type in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"{str(value).lower()}"
    if isinstance(value, int):
        return f"{value}"
    if isinstance(value, float):
        return f"{value!r}"
    if isinstance(value, str):
        return f"{textwrap.shorten(value, _LONGEST_TEXT)!r} (text)"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        keys = ", ".join(f"`{key}`" for key in value)
        return f"a mapping with {keys}" if keys else "an empty mapping"
    return f"`kind: {value.kind}`" if hasattr(value, "kind") else repr(value)


def _limit(constraint: Any) -> str | None:
    for attribute, words in (
        ("ge", "of at least"),
        ("gt", "above"),
        ("le", "of at most"),
        ("lt", "below"),
    ):
        bound = getattr(constraint, attribute, None)
        if bound is not None:
            return f"{words} {bound}"
    inner = [text for meta in getattr(constraint, "metadata", ()) if (text := _limit(meta))]
    return " and ".join(inner) or None
