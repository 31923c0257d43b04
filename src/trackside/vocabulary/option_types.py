"""Options given in Python, held to their hints before the constructor sees them.

Without it, a text where a number belongs ends in Python's own error somewhere inside, one where a
truth value belongs counts as true, and one where a list belongs is taken letter by letter. Files
are held to the same hints by `config`, with the place of each value.
"""

from __future__ import annotations

import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import wraps
from os import PathLike
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin

from trackside.errors import ConfigurationError, shortened
from trackside.secret import HIDDEN, has_secret_name, is_secret

P = ParamSpec("P")
T = TypeVar("T")

METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "Trainer": {
        "__init__": ("clip", "defaults", "seed", "settings"),
        "fit": ("data", "drop_last", "rehearse"),
        "evaluate": ("name",),
        "predict": ("keep", "pad"),
    },
}
"""By class and method: the options held. The others have errors that know what people mean."""

_TEXTS = (str, bytes)
_PLAIN = (bool, int, float, complex, *_TEXTS, list, tuple, dict, set, frozenset, types.NoneType)
"""Types whose values never stand for an object of another class."""
_SHORT = 100
"""Items of a list or mapping that is looked through for numbers of numpy."""
_REPEATABLE = (list, tuple, set, frozenset)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("True or False", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    types.NoneType: ("None", "None"),
    Callable: ("a function", "functions"),
    type: ("a class", "classes"),
}


Keep = Callable[[Any, Mapping[str, Any]], None]


def held_to_types(
    *options: str, keep: Keep | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function refuse arguments of other types than its hints say, by name.

    Numbers and truth values of numpy become those of Python, also in short lists and mappings. A
    plain value is refused where an object of a class belongs; other objects, and which of several
    texts it may be, are left to the function.

    Args:
        options: Names of parameters; none takes all of them.
        keep: Of a method, called afterwards with the object and its arguments.

    Raises:
        ConfigurationError: When the function is called: an argument doesn't fit.
    """

    def decorate(call: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(call)
        hints: dict[str, Any] = {}

        @wraps(call)
        def held(*arguments: P.args, **keywords: P.kwargs) -> T:
            try:
                bound = signature.bind_partial(*arguments, **keywords)
            except TypeError:  # too many, or unknown ones: the call says which
                return call(*arguments, **keywords)
            given = bound.arguments = {n: _plain(value) for n, value in bound.arguments.items()}
            if given.keys() - {"self"} and not hints:  # later than its classes, and where needed
                hints.update(typing.get_type_hints(call, include_extras=True))
            for name, value in given.items():
                is_held = name in hints and signature.parameters[name].kind not in _VARIABLE
                if is_held and (not options or name in options) and not _fits(value, hints[name]):
                    raise _refused(name, value, hints[name])
            made = call(*bound.args, **bound.kwargs)
            if keep is not None:  # of a class and its base, the class's own comes last
                keep(given["self"], {n: value for n, value in given.items() if n != "self"})
            return made

        return held

    return decorate


def holds_options(kind: type[T], keep: Keep | None = None) -> type[T]:
    """Let a class refuse options of other types than the hints of its constructor say, by name.

    Of a class in the table above, the listed options of its methods; see `held_to_types`.
    """
    for name, options in METHODS.get(kind.__name__, {"__init__": ()}).items():
        setattr(kind, name, held_to_types(*options, keep=keep)(getattr(kind, name)))
    return kind


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of the type of a hint, as far as its types are plain ones."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, member) for member in arguments)
    if origin is Annotated:
        return _fits(value, arguments[0])
    if hint is bool:
        return isinstance(value, bool)
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    if hint in (str, types.NoneType):
        return isinstance(value, hint)
    bare = origin or hint
    if bare is Callable:
        return callable(value)
    if bare is type:
        return isinstance(value, type)
    if getattr(bare, "__module__", "") == "torch" and bare.__qualname__ == "device":
        return True  # also a text or a number: whoever takes one knows which there are
    if not isinstance(bare, type) or bare in (Any, object) or hasattr(bare, "parse"):
        return True  # `Any`, a choice, a class that reads texts: the function itself says
    if is_dataclass(bare) or issubclass(bare, PathLike):
        return isinstance(value, PathLike if issubclass(bare, PathLike) else bare)
    if issubclass(bare, Mapping):
        return isinstance(value, Mapping) and _pairs_fit(value, arguments)
    if issubclass(bare, Iterable):
        if isinstance(value, (*_TEXTS, Mapping)) or not _is_iterable(value, bare):
            return False
        return not isinstance(value, _REPEATABLE) or _items_fit(value, arguments)
    if type(value) not in _PLAIN:
        return True
    return not getattr(bare, "_is_protocol", False) and isinstance(value, bare)


def _items_fit(values: Iterable[Any], hints: tuple[Any, ...]) -> bool:
    wanted = [hint for hint in hints if hint is not Ellipsis] or [Any]
    return all(any(_fits(value, hint) for hint in wanted) for value in values)


def _pairs_fit(values: Mapping[Any, Any], hints: tuple[Any, ...]) -> bool:
    if len(hints) != 2:
        return True
    return all(_fits(key, hints[0]) and _fits(value, hints[1]) for key, value in values.items())


def _is_iterable(value: object, kind: type) -> bool:
    """Whether it can be passed over; where a sequence is wanted, again and again, in an order."""
    if issubclass(kind, Sequence):
        return hasattr(value, "__getitem__")
    return isinstance(value, Iterable) or hasattr(value, "__getitem__")


def _plain(value: Any) -> Any:
    """The value with numbers of Python in the place of numpy's; itself where there are none."""
    kind = type(value)
    if kind is dict and len(value) <= _SHORT:
        if any(map(_is_numpy, (*value, *value.values()))):
            return {_plain(key): _plain(one) for key, one in value.items()}
        return value
    if kind in (list, tuple) and len(value) <= _SHORT:
        return kind(map(_plain, value)) if any(map(_is_numpy, value)) else value
    return value.item() if _is_numpy(value) else value


def _is_numpy(value: object) -> bool:
    """Whether it is a number or truth value of numpy."""
    kind = type(value)
    return kind.__module__ == "numpy" and hasattr(kind, "item") and kind.__name__ != "ndarray"


def _refused(option: str, value: object, hint: Any) -> ConfigurationError:
    is_hidden = is_secret(hint) or has_secret_name(option)
    return ConfigurationError(
        f"{option}={HIDDEN if is_hidden else shortened(value)} can't be used",
        expected=_in_words(hint),
        received=type(value).__name__,
        remedy=None if is_hidden else _remedy(option, value, hint),
        option=option,
    )


def _remedy(option: str, value: object, hint: Any) -> str | None:
    """The value as it was probably meant."""
    if not isinstance(value, str):
        return None
    if _fits([value], hint):
        return f"a list, also of one: {option}=[{value!r}]"
    if value.lower() in ("true", "yes", "on", "false", "no", "off"):
        meant = value.lower() in ("true", "yes", "on")
        return f"{option}={meant}" if _fits(meant, hint) else None
    for read in (int, float):
        try:
            number = read(value)
        except ValueError:
            continue
        return f"without quotes: {option}={value}" if _fits(number, hint) else None
    return None


def _in_words(hint: Any, number: int = 0) -> str:
    """The values that a hint takes; `number` 1 says it of several."""
    origin, arguments = get_origin(hint), get_args(hint)
    bare = origin or hint
    if bare in _WORDS:
        return _WORDS[bare][number]
    if origin in (Union, types.UnionType):
        words = [_in_words(one, number) for one in arguments if one is not types.NoneType]
        words += ["None"] if types.NoneType in arguments else []
        return " or ".join(dict.fromkeys(words))
    if origin is Annotated:
        return _in_words(arguments[0], number)
    if not isinstance(bare, type):
        return str(bare)
    if issubclass(bare, PathLike):
        return ("a path", "paths")[number]
    inner = [_in_words(one, 1) for one in arguments if one not in (Ellipsis, Any)]
    if issubclass(bare, Mapping):
        kind = ("a mapping", "mappings")[number]
        return f"{kind} from {' to '.join(inner)}" if len(inner) == 2 else kind
    if issubclass(bare, Iterable):
        kind = ("a list", "lists")[number]
        return f"{kind} of {' and '.join(dict.fromkeys(inner))}" if inner else kind
    return (f"a `{bare.__name__}`", f"`{bare.__name__}`s")[number]
