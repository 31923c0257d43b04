"""Checks of a callback's declarations: wrong values, and misspelt names."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterator, Sized
from typing import Any, get_args

from trackside.errors import DeclarationError
from trackside.lifecycle.hooks import Callback, Effect, OnError
from trackside.run import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
_CHOICES: dict[str, tuple[str, ...]] = {"on_error": get_args(OnError), "effect": get_args(Effect)}
_SEQUENCES = (
    "runs_after",
    "runs_before",
    "runs_in",
    "requires",
    "monitors",
    "logs",
    "settable",
    "writes",
)
_FLAGS = ("rank_zero_only", "skips_steps", "calls_collectives")
_COUNTS = ("switch_off_after",)
_DECLARATIONS = (*_SEQUENCES, *_FLAGS, *_COUNTS, *_CHOICES, "unused_hooks")
_NEAR = 0.8
"""Likeness, between 0 and 1, from which a name is taken for a misspelt one."""
_SHORT = 4
"""Letters of a name that is too short to be warned of for its likeness alone: `log`."""


def check_declarations(callback: Callback[Any]) -> None:
    """Refuse declarations with a value that can't be meant, and misspelt ones.

    A name that is nearly that of a declaration is refused when its value fits that declaration;
    when it doesn't, it may well be the author's own, and is warned of. Options of the constructor
    are the author's own.

    Raises:
        DeclarationError: Names the attribute, and what it should be.
    """
    owner = type(callback).__name__
    for name in _DECLARATIONS:
        expected = _expected(name, getattr(callback, name))
        if expected is not None:
            raise DeclarationError(
                f"`{owner}.{name}` can't be used",
                expected=expected,
                received=repr(getattr(callback, name)),
            )
    for name, value in _own_attributes(callback):
        meant = next(iter(difflib.get_close_matches(name, _DECLARATIONS, 1, _NEAR)), None)
        if meant is None or isinstance(value, property) or _is_empty(value):
            continue
        if _fits(meant, value):
            raise DeclarationError(
                f"`{owner}.{name}` is not a declaration: it has no effect",
                received=f"{name} = {value!r}",
                remedy=f"did you mean `{meant}`?",
            )
        if _might_be_meant(meant, value) and len(name) > _SHORT and name in _of_the_class(callback):
            warnings.warn(
                f"`{owner}.{name}` is not a declaration of callbacks. "
                f"Did you mean `{meant} = ...`, with {_wanted(meant)}?",
                stacklevel=2,
            )


def _own_attributes(callback: Callback[Any]) -> Iterator[tuple[str, Any]]:
    """Public attributes of the instance and of its classes, without hooks, methods and options."""
    options = set(inspect.signature(type(callback).__init__).parameters)
    known = set(dir(Callback)) | options
    for name, value in {**_of_the_class(callback), **vars(callback)}.items():
        if not name.startswith("_") and name not in known and not inspect.isroutine(value):
            yield name, value


def _is_empty(value: Any) -> bool:
    """Whether it would declare nothing: `self.log = []` is a list to be filled."""
    return isinstance(value, Sized) and not isinstance(value, type) and len(value) == 0


def _of_the_class(callback: Callback[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in reversed(type(callback).__mro__):
        found |= vars(cls)
    return found


def _expected(name: str, value: Any) -> str | None:
    """The expected value of the declaration `name`, when `value` is something else."""
    if name in _CHOICES:
        unsaid = name == "effect" and value is None
        return None if unsaid or value in _CHOICES[name] else _wanted(name)
    if name in _COUNTS:
        return None if _is_count(value) else _wanted(name)
    if name == "runs_in":
        right = not isinstance(value, str) and value and set(value) <= set(MODES)
        return None if right else _wanted(name)
    if name in _FLAGS:
        return None if isinstance(value, bool) else _wanted(name)
    return _wanted(name) if isinstance(value, (str, type)) else None


def _wanted(name: str) -> str:
    if name in _CHOICES:
        return " or ".join(map(repr, _CHOICES[name]))
    if name in _COUNTS:
        return "a whole number, 1 or more"
    if name == "runs_in":
        return "a tuple of " + ", ".join(map(repr, MODES))
    if name in _FLAGS:
        return "True or False"
    return "a set of hooks" if name == "unused_hooks" else 'a tuple, such as `("...",)`'


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _fits(name: str, value: Any) -> bool:
    if name in _CHOICES:
        return isinstance(value, str) and value in _CHOICES[name]
    if name in _COUNTS:
        return _is_count(value)
    if name in _FLAGS:
        return isinstance(value, bool)
    if name == "unused_hooks":
        return isinstance(value, (set, frozenset))
    if not isinstance(value, (tuple, list)) or not value:  # nothing is declared by nothing
        return False
    return all(isinstance(one, (str, type)) for one in value) and (
        name != "runs_in" or set(value) <= set(MODES)
    )


def _might_be_meant(name: str, value: Any) -> bool:
    """Whether `value` could be meant for the declaration."""
    return isinstance(value, (str, bool)) or (name in _SEQUENCES and isinstance(value, type))
