"""The last calls of hooks: which callback heard which event, and when."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from trackside.lifecycle.member import Guard, Member


class EventRing:
    """Keeps the last calls that were begun; an event that no callback hears costs nothing.

    Args:
        size: How many.
        within: Another guard, which makes the calls.
        without: Name of the callback that keeps the ring: its own calls aren't noted.
    """

    def __init__(self, size: int, within: Guard | None, without: str) -> None:
        self._calls: deque[tuple[float, str, str]] = deque(maxlen=size)
        self._within = within
        self._without = without

    def __call__(self, member: Member, hook: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call that is noted when it begins."""
        if self._within is not None:
            call = self._within(member, hook, call)
        name, append = member.name, self._calls.append
        if name == self._without:
            return call

        @functools.wraps(call)
        def noted(*args: Any) -> Any:
            append((perf_counter(), name, hook))
            return call(*args)

        return noted

    def last(self) -> list[dict[str, Any]]:
        """The calls, oldest first, each with the seconds that have passed since it began."""
        now = perf_counter()
        return [
            {"callback": name, "hook": hook, "seconds_ago": round(now - began, 7)}
            for began, name, hook in list(self._calls)
        ]
