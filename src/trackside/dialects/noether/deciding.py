"""Noether's own classes that decide themselves when they are due, and those that have children.

Its trainer calls `after_update`, `after_epoch` and `at_eval`, which ask `_should_invoke_after_...`.
Where a class overrides one of these, it is asked here as there; elsewhere the intervals decide.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

INTERVALS = {
    "after_update": ("_should_invoke_after_update", "_should_invoke_after_sample"),
    "after_epoch": ("_should_invoke_after_epoch",),
    "at_eval": (),
}
"""Their methods that the trainer calls, and what these ask."""


def decides(callback: Any, base: type, method: str) -> bool:
    """Whether a callback has a say in `method`: its class, or a child's, overrides it or its rule.

    Args:
        callback: A callback of Noether's own package, or of one's own on its base classes.
        base: The base class that has the methods.
        method: A key of `INTERVALS`.
    """
    if not hasattr(base, method):
        return False
    names = (method, *INTERVALS[method])
    kind = type(callback)
    return any(
        inspect.getattr_static(kind, name) is not inspect.getattr_static(base, name, None)
        for name in names
    )


def descendants(callback: Any) -> Iterator[Any]:
    """The callbacks that a callback owns, and theirs."""
    children = getattr(callback, "get_children", None)
    for child in () if children is None else children():
        yield child
        yield from descendants(child)


def is_due(callback: Any, method: str, counter: Any) -> bool:
    """Whether a callback, or one that it owns, is due: the same on every rank."""
    at = counter.cur_iteration
    for one in (callback, *descendants(callback)):
        if method == "at_eval":
            return True
        if method == "after_epoch" and one._should_invoke_after_epoch(at):
            return True
        if method == "after_update" and (
            one._should_invoke_after_update(at)
            or one._should_invoke_after_sample(at, counter.effective_batch_size)
        ):
            return True
    return False
