"""SpyCallback: counts the calls of named hooks, and does there what a test asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.hooks import CONTEXTS, CUSTOM_EVENTS, HOOKS, Callback
from trackside.run import Run

Act = BaseException | type[BaseException] | Callable[..., Any]


class SpyCallback(Callback[Any]):
    """Counts hooks, and raises or acts at one of them.

    Args:
        at: The hook, by name or as `Callback.on_step_end`. None: it only counts.
        act: What happens there: an exception (or its class) is raised; a function is called with
            what the hook got, and what it returns is returned.
        when: At which call of that hook it happens, from 1. None: at each.
        counts: Which hooks are counted. None: all of them, which makes none idle.

    Raises:
        ConfigurationError: The hook doesn't exist.

    Example:
        >>> spy = SpyCallback(Callback.on_step_end, RuntimeError("full"), when=3)
        >>> Trainer(..., callbacks=[spy]).fit(train, epochs=1)
        Traceback (most recent call last):
        RuntimeError: full
        >>> spy.counts["on_step_end"]
        3
    """

    def __init__(
        self,
        at: Callable[..., Any] | str | None = None,
        act: Act | None = None,
        *,
        when: int | None = 1,
        counts: tuple[str, ...] | None = None,
    ) -> None:
        self.at = at.__name__ if callable(at) else at
        self.act = act
        self.when = when
        self.counts: Counter[str] = Counter()
        """Calls by name of the hook, over all runs."""
        listened = [*HOOKS] if counts is None else [*counts]
        for name in [*listened, *([self.at] if self.at is not None else [])]:
            if name not in HOOKS and name not in CUSTOM_EVENTS and name not in CONTEXTS:
                raise ConfigurationError(
                    f"there is no hook `{name}` to spy on",
                    remedy=did_you_mean(name, [*HOOKS, *CONTEXTS]),
                    option="at",
                )
            # On the instance: the hooks that it doesn't spy on stay idle.
            setattr(self, name, partial(self.heard, name))

    def heard(self, name: str, run: Run, *arguments: Any) -> Any:
        """Count a call of the hook `name`, and act where it is asked for."""
        self.counts[name] += 1
        if name != self.at or self.act is None or self.when not in (None, self.counts[name]):
            return nullcontext() if name in CONTEXTS else None
        if isinstance(self.act, BaseException):
            raise self.act
        if isinstance(self.act, type):
            raise self.act()
        return self.act(run, *arguments)
