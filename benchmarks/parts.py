"""Seconds of named parts of a run, each without the parts inside of it."""

from __future__ import annotations

import functools
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

Functions = Mapping[str, Sequence[str]]
"""By the name of a part, its functions: `module.function` or `module.Class.method`, as the place is
called in which they are looked up."""


class Parts:
    """Watches functions, and adds up the time of the part that each belongs to.

    Parts in other threads than the one that watches are added up as well; they are not inside of
    anything. A call that is watched takes about a microsecond more.
    """

    def __init__(self, functions: Functions) -> None:
        self.seconds = dict.fromkeys(functions, 0.0)
        self._functions = functions
        self._open = threading.local()

    @contextmanager
    def watched(self, whole: str) -> Iterator[None]:
        """Watch what is done inside; time that belongs to no part is that of the part `whole`."""
        self.seconds.setdefault(whole, 0.0)
        with ExitStack() as stack:
            for part, places in self._functions.items():
                for place in places:
                    stack.enter_context(_replaced(place, functools.partial(self._timing, part)))
            with self._timed(whole):
                yield

    def _timing(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timing(*args: Any, **kwargs: Any) -> Any:
            with self._timed(part):
                return function(*args, **kwargs)

        return timing

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        outer: list[float] | None = getattr(self._open, "inside", None)
        self._open.inside = inside = [0.0]
        began = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - began
            self.seconds[part] += seconds - inside[0]
            self._open.inside = outer
            if outer is not None:
                outer[0] += seconds


@contextmanager
def _replaced(place: str, by: Callable[[Any], Any]) -> Iterator[None]:
    """Inside, what stands at `place` is what `by` makes of it."""
    holder, _, name = place.rpartition(".")
    owner = pkgutil.resolve_name(holder)
    is_inherited = name not in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, by(before))
    try:
        yield
    finally:
        if is_inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
