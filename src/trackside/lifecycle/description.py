"""How an object is shown: the call of its constructor, as far as its attributes say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from trackside.schedule import AllOf, AnyOf, Every
from trackside.secret import HIDDEN, as_written, secret_options

_CONTAINERS = (tuple, list, dict, frozenset)
_PLAIN = (str, int, float, type(None), *_CONTAINERS)
_LONGEST = 60
"""Characters of a value; of longer ones the beginning is shown."""
_KEYWORDS = (inspect.Parameter.KEYWORD_ONLY,)
_ARGUMENTS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, *_KEYWORDS)


_given: WeakKeyDictionary[object, Mapping[str, Any]] = WeakKeyDictionary()
"""Options that constructors were given, by what they made."""


def remember(thing: object, given: Mapping[str, Any]) -> None:
    """Keep the options that the constructor of `thing` was given, for `described`."""
    _given[thing] = given


def _remembered(thing: object) -> Mapping[str, Any]:
    try:
        return _given.get(thing, {})
    except TypeError:  # it can't be a key, and so was never one
        return {}


def described(thing: object) -> str:
    """`EarlyStopping('val/loss', patience=5)`: options that the constructor took, under their name.

    An option is shown when an attribute of its name has another value than the default, the first
    one by its place; without such an attribute, and where it is known what was given, that. In the
    place of a `Secret` one stands `(secret)`.
    """
    kind = type(thing)
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    own = vars(thing)
    properties = (p for p in own if isinstance(getattr(kind, p[1:], None), property))
    kept = {**_remembered(thing), **own, **{name[1:]: own[name] for name in properties}}
    hidden = secret_options(kind)
    given: list[str] = []
    for index, parameter in enumerate(parameters):
        if parameter.kind not in _ARGUMENTS or parameter.name not in kept:
            continue
        value = _plain(kept[parameter.name], parameter.default)
        if _is_default(value, parameter.default):
            continue
        first = index == 0 and parameter.kind not in _KEYWORDS
        text = HIDDEN if parameter.name in hidden else _short(value)
        given.append(text if first else f"{parameter.name}={text}")
    return f"{kind.__name__}({', '.join(given)})"


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, _CONTAINERS) and not value:  # None often stands for an empty one
        return default is None or default == value
    return value is default or (isinstance(value, _PLAIN) and bool(value == default))


def _plain(value: Any, default: Any) -> Any:
    """The value as a user would write it: schedules and paths as text."""
    if isinstance(value, (Every, AnyOf, AllOf)):
        return default if isinstance(default, str) and value == Every.parse(default) else str(value)
    return str(value) if isinstance(value, Path) else value


def _short(value: object) -> str:
    text = as_written(repr(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
