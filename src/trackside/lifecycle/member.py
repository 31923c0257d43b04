"""A callback in a run: its name, its time, its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trackside.lifecycle.hooks import Callback


class Member:
    """A callback in a run: its name, its time, its failures."""

    __slots__ = ("attached", "callback", "failing", "failures", "introduced", "name", "seconds")

    def __init__(self, name: str, callback: Callback[Any]) -> None:
        self.name = name
        self.callback = callback
        self.seconds = 0.0
        """Time spent in its hooks, without the events that it fired there."""
        self.failures = 0
        self.failing: dict[tuple[str, str], int] = {}
        """Failures in a row of what failed when it was last called, by hook and name of the call:
        a hook may call several, in turns."""
        self.introduced = False
        """Whether it knows of its trainer."""
        self.attached = False
        """Whether it is between `on_attach` and `on_close`: only then its hooks are called."""

    def begin(self) -> None:
        """A run begins: nothing has taken time, and nothing has failed."""
        self.seconds = 0.0
        self.failing.clear()
        self.failures = 0
        self.attached = False

    @property
    def switched_off(self) -> bool:
        """Whether one of its hooks failed too often in a row to be called again."""
        allowed = self.callback.switch_off_after
        return any(count >= allowed for count in self.failing.values())


Listener = tuple[Member, Callable[..., Any], str]
"""A callback, one call that it wants at a hook, and the name of the hook."""

Guard = Callable[[Member, str, Callable[..., Any]], Callable[..., Any]]
"""Makes of one call at a hook (the member, the hook's name, the call) the one to make instead."""
