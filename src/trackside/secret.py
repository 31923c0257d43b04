"""Values that are used and never shown: keys of services, addresses of web hooks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from inspect import unwrap
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_type_hints

HIDDEN = "(secret)"
"""Stands for a secret in messages."""
_SHORTEST = 8
"""Characters of a value that is looked for in every message: shorter ones are in many words."""


_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|credentials?)$"
    r"|(?:^|_)(?:api|access|secret|private|license|signing)_?key$"
    r"|^(?:\w+_)?(?:api|auth|access|bearer|refresh|hf|hub|github|gitlab|slack|wandb|bot)_?token$"
    r"|^token$",
    re.IGNORECASE,
)
"""Names of options whose texts are secrets; `pad_token` and `sort_key` are not among them."""
_VARIABLE = re.compile(r"(?:TOKEN|KEY|PASSWORD|PASSWD|SECRET|CREDENTIALS?)$", re.IGNORECASE)
"""Names of environment variables that hold secrets."""
_SHORTEST_OUTSIDE = 12
"""Characters of a value in the environment: shorter ones, and paths, are no keys of services."""


class _Mark:
    """Marks the hint of an option."""

    def __repr__(self) -> str:
        return "secret"


Secret = Annotated[str, _Mark()]
"""Hint of an option whose value is used and never shown: `def __init__(self, token: Secret)`.

The value is in no file that a run keeps, no checkpoint's or tracker's configuration, no `repr` and
no message. Where a configuration that can be run again is kept, it stays as `${oc.env:...}` where
it was written so, else it has to be given again. `Secret | None` and `list[Secret]` are secret too.
"""

_values: dict[str, str] = {}
"""Values that are never shown, each with the text that is shown for it."""


def keep_secret(value: Any, written: str = HIDDEN) -> None:
    """Show `written` wherever a value would stand in a message.

    Args:
        value: Text, or a list or mapping of such. Texts of fewer than eight characters stay.
        written: What is shown; a source such as `${oc.env:KEY}` that is known already stays.
    """
    for text in texts(value):
        if len(text) >= _SHORTEST and (written != HIDDEN or text not in _values):
            _values[text] = written


def as_written(text: str) -> str:
    """`text` with what must stay secret as it was written in the configuration.

    Values of environment variables whose names say so (`HF_TOKEN`, `SERVICE_KEY`) are among it.
    """
    values = {**environment_secrets(), **_values}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, values[value])
    return text


def has_secret_name(name: str) -> bool:
    """Whether an option of that name holds a secret: `password`, `api_key`, `auth_token`."""
    return _NAME.search(name) is not None


def environment_secrets() -> dict[str, str]:
    """Secrets that stand in the environment, each with what is shown for it."""
    return {
        value: f"${{oc.env:{name}}}"
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST_OUTSIDE and value[0] not in "/~." and _VARIABLE.search(name)
    }


def texts(value: Any) -> Iterator[str]:
    """The texts in a plain value, numbers as text; none of null and truth values."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def is_secret(hint: Any) -> bool:
    """Whether a hint is `Secret`, or made of it."""
    return isinstance(hint, _Mark) or any(map(is_secret, get_args(hint)))


def secret_options(target: Callable[..., Any]) -> frozenset[str]:
    """Names of the parameters of a function, or of a class's constructors, that are secret."""
    return _of_class(target) if isinstance(target, type) else frozenset(_marked(target))


@lru_cache(maxsize=1024)  # resolving hints takes 0.1 ms for each class, in each run
def _of_class(kind: type) -> frozenset[str]:
    made = [vars(one)["__init__"] for one in kind.__mro__ if "__init__" in vars(one)]
    return frozenset(name for init in made for name in _marked(init))


def _marked(function: Any) -> Iterator[str]:
    function = unwrap(function)
    names = getattr(function, "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        if _is_marked(annotation, names) or has_secret_name(name):
            yield name


def _is_marked(annotation: Any, names: dict[str, Any]) -> bool:
    if not isinstance(annotation, str):
        return is_secret(annotation)
    single = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return is_secret(get_type_hints(single, names, include_extras=True)["it"])
    except (NameError, TypeError, AttributeError, SyntaxError):  # imported for type checkers alone
        return re.search(r"\bSecret\b", annotation) is not None
