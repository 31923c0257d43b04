"""Type hints of a constructor, turned into rules for values in a file.

pydantic checks the values; what it is given is the hint with every class that a file can't write
down replaced by "made by a `kind:`", and with numbers, text and truth values taken strictly: `"5"`
is not a number, `1` is not `true`. Lists become tuples, sets or paths where the hint asks for them.
"""

from __future__ import annotations

import collections.abc
import datetime
import enum
import inspect
import os
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainValidator, Strict

from trackside.errors import ScheduleError
from trackside.schedule import AllOf, AnyOf, Every

EXACT_TYPES = (int, float, bool, str)
"""Types that accept no other type; `float` also accepts a whole number."""
PYDANTIC_TYPES = (
    pathlib.PurePath,
    enum.Enum,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    BaseModel,
)
LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
FIXED = (tuple, set, frozenset, collections.abc.Set)


def adapt(hint: Any) -> Any:
    """The hint that pydantic checks in the place of `hint`."""
    if hint in (Any, object, inspect.Parameter.empty) or isinstance(hint, str):
        return Any
    if hint is None or hint is types.NoneType:
        return None
    if hint in EXACT_TYPES:
        return Annotated[hint, Strict()]
    if isinstance(hint, TypeVar):
        return adapt(hint.__bound__ or Any)
    if hasattr(hint, "__supertype__"):
        return adapt(hint.__supertype__)
    if hasattr(hint, "__value__"):
        return adapt(hint.__value__)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(adapt(arguments[0]), *arguments[1:])]
    if origin in (Union, types.UnionType):
        if is_schedule(hint):
            rule: Any = Annotated[Any, BeforeValidator(_parse_schedule)]
            return rule | None if types.NoneType in arguments else rule
        return Union[tuple(adapt(a) for a in arguments)]  # noqa: UP007
    if origin is Literal:
        return hint
    return _adapt_class(hint, origin, arguments)


def _adapt_class(hint: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    bare = origin or hint
    if is_schedule(hint):
        return Annotated[Any, BeforeValidator(_parse_schedule)]
    if bare in LISTS:
        return list[adapt(arguments[0])] if arguments else list[Any]  # type: ignore[misc]
    if bare in MAPPINGS:
        return dict[adapt(arguments[0]), adapt(arguments[1])] if arguments else dict[Any, Any]  # type: ignore[misc]
    if bare in FIXED:
        bare = frozenset if bare is collections.abc.Set else bare
        inner = tuple(a if a is Ellipsis else adapt(a) for a in arguments)
        return bare[inner] if inner else bare
    if full_name(hint) in ("torch.device", "torch.dtype"):
        return Annotated[Any, BeforeValidator(_torch_value(hint))]
    if bare in (bytes, complex) or (isinstance(bare, type) and issubclass(bare, PYDANTIC_TYPES)):
        return hint
    if bare is os.PathLike:
        return Annotated[str, Strict()]
    if typing.is_typeddict(hint):
        return hint
    return Annotated[Any, PlainValidator(_made(hint))]


def is_schedule(hint: Any) -> bool:
    """Whether a value for `hint` is a schedule, such as `100 steps`."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return any(member in (Every, AnyOf, AllOf) for member in members)


def classes_in(hint: Any) -> list[type]:
    """Classes in a hint whose instances only a `kind:` can make."""
    if get_origin(hint) is None:
        opaque = isinstance(hint, type) and adapt(hint) not in (Any, None) and _is_opaque(hint)
        return [hint] if opaque else []
    return [found for argument in get_args(hint) for found in classes_in(argument)]


def _is_opaque(hint: Any) -> bool:
    validators = getattr(adapt(hint), "__metadata__", ())
    return any(isinstance(validator, PlainValidator) for validator in validators)


def _parse_schedule(value: Any) -> Any:
    if isinstance(value, (Every, AnyOf, AllOf)):
        return value
    try:
        if isinstance(value, dict):
            return Every(**value)
        return Every.parse(value)
    except (ScheduleError, TypeError) as error:
        raise ValueError(str(error)) from error  # `fitting` reads the remedy from the cause


def _torch_value(hint: Any) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        import torch  # noqa: PLC0415 - the hint is torch's, so it is loaded already

        if not isinstance(value, str):
            raise ValueError("text")
        if hint is torch.device:
            try:
                return torch.device(value)
            except RuntimeError as error:
                raise ValueError(str(error)) from None
        found = getattr(torch, value.removeprefix("torch."), None)
        if not isinstance(found, torch.dtype):
            raise ValueError("no dtype")
        return found

    return parse


def _made(hint: Any) -> Callable[[Any, Any], Any]:
    def accept(value: Any, info: Any) -> Any:
        if not info.context(value):
            raise ValueError("not made by a kind")
        wanted, makes = get_origin(hint) or hint, value.makes
        if value.partial or not isinstance(wanted, type) or not isinstance(makes, type):
            return value
        if wanted in (type, collections.abc.Callable) or getattr(wanted, "_is_protocol", False):
            return value
        if not issubclass(makes, wanted):
            raise ValueError(f"makes {makes.__name__}")
        return value

    return accept


def full_name(hint: Any) -> str:
    """`torch.device` for the class, whether or not torch is loaded."""
    return f"{getattr(hint, '__module__', '')}.{getattr(hint, '__qualname__', '')}"
