"""Names of before that are refused with the new one: nothing is called by two names.

One table for all: hooks, attributes, options (as keywords and as keys of a file), recorded values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from trackside.errors import ConfigurationError, UsageError

T = TypeVar("T")

HOOKS = {"on_optimizers_built": "on_optimizers_ready"}
ATTRIBUTES = {
    "Run": {"trial": "discarding", "calling": "current_callback"},
    "Progress": {"epochs_ended": "epochs_closed"},
}
"""By class."""
OPTIONS = {
    "Settings": {"parallel": "strategy"},
    "Scheduler": {"per": "interval"},
    "LRScheduler": {"per": "interval"},
    "Checkpoint": {"at_error": "save_on_failure"},
    "Run.save": {"everywhere": "all_ranks"},
    "Run.evaluate": {"everywhere": "all_ranks"},
}
"""By class or method."""
VALUES = {"recent/": "train_recent/"}
"""Beginnings of the names of recorded values."""


class RenamedAttributeError(UsageError, AttributeError):
    """An attribute has another name now."""


class RenamedOptionError(ConfigurationError, TypeError):
    """An option has another name now."""


class _OldName:
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def __get__(self, holder: object, kind: type) -> Any:
        raise RenamedAttributeError(
            f"`{kind.__name__}` has no attribute `{self.old}`",
            remedy=f"it is called `{self.new}` now",
        )


def refuses_old_names(kind: type[T]) -> type[T]:
    """Let a class of the tables above answer its old names with the new ones."""
    for owner, table in OPTIONS.items():
        holder, _, method = owner.partition(".")
        if holder == kind.__name__:
            name = method or "__init__"
            setattr(kind, name, _refusing(getattr(kind, name), table, owner))
    for old, new in ATTRIBUTES.get(kind.__name__, {}).items():
        setattr(kind, old, _OldName(old, new))
    return kind


def _refusing(call: Callable[..., Any], table: dict[str, str], owner: str) -> Any:
    @wraps(call)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        for old in table.keys() & keywords.keys():
            raise RenamedOptionError(
                f"`{owner}` has no option `{old}`",
                remedy=f"it is called `{table[old]}` now",
                option=old,
            )
        return call(*arguments, **keywords)

    return checked


def new_key(old: str, known: list[str]) -> str | None:
    """The new name of the key `old` of a file, among those known; None if there is none."""
    names = {table[old] for table in OPTIONS.values() if old in table}
    return next((name for name in known if name in names), None)


def new_value(old: str) -> str | None:
    """The new name of a recorded value; None where the name is not an old one."""
    for begin, now in VALUES.items():
        if old.startswith(begin):
            return now + old.removeprefix(begin)
    return None
