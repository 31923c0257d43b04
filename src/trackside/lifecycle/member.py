"""A callback in a run: its name, its time, its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trackside.lifecycle.hooks import Callback


class Account:
    """Time that a callback has taken in one hook, without the events that it fired there."""

    __slots__ = ("hook", "seconds")

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.seconds = 0.0


class Member:
    """A callback in a run: its name, its time, its failures."""

    __slots__ = ("accounts", "attached", "callback", "failing", "failures", "introduced", "name")

    def __init__(self, name: str, callback: Callback[Any]) -> None:
        self.name = name
        self.callback = callback
        self.accounts: dict[str, Account] = {}
        """Time spent in each hook, by the hook's name."""
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
        self.accounts = {}
        self.failing.clear()
        self.failures = 0
        self.attached = False

    def account(self, hook: str) -> Account:
        """Where the time that it spends in `hook` is added up."""
        return self.accounts.setdefault(hook, Account(hook))

    @property
    def seconds(self) -> float:
        """Time spent in all its hooks."""
        return sum(account.seconds for account in self.accounts.values())

    @property
    def switched_off(self) -> bool:
        """Whether one of its hooks failed too often in a row to be called again."""
        allowed = self.callback.switch_off_after
        return any(count >= allowed for count in self.failing.values())


Listener = tuple[Member, Callable[..., Any], Account]
"""A callback, one call that it wants at a hook, and where the time of that goes."""

Guard = Callable[[Member, str, Callable[..., Any]], Callable[..., Any]]
"""Makes of one call at a hook (the member, the hook's name, the call) the one to make instead."""
