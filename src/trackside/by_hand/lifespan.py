"""From attach to close around code that isn't called from here: a `with` block, another trainer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.lifetime import close, close_after, settle
from trackside.lifecycle.signals import StopOnSignals
from trackside.outcome import Outcome
from trackside.run import Run


class Lifespan:
    """The attached callbacks of one run, each to be closed once.

    Args:
        run: The run; `run.callbacks` take part.
        events: Calls these.
        signals: Handles signals between attach and close; None leaves them alone.
    """

    def __init__(self, run: Run, events: Dispatcher, signals: StopOnSignals | None) -> None:
        self._run = run
        self._events = events
        self.signals = signals
        self._handling = nullcontext() if signals is None else signals
        self.is_open = False

    def begin(self) -> None:
        """Attach all callbacks. Where one of them fails, those before it are closed."""
        self._handling.__enter__()
        self.is_open = True
        try:
            self._run.callbacks.enter(self._events)
        except BaseException as error:
            self.fail(error)
            raise

    def finish(self, body: Callable[[], Outcome]) -> None:
        """End a run in which nothing failed: `body` does the rest of it, then all are closed.

        Raises:
            BaseException: The error of `body`, or of closing.
        """
        try:
            self._run.outcome = body()
            settle(self._run, self._events)
            self._is_closing()
        except BaseException as caught:
            if (error := self.fail(caught)) is not caught:
                raise error  # noqa: B904 - the later one is a note on it
            raise
        self.is_open = False
        try:
            close(self._run, self._run.callbacks, self._events)
        finally:
            self._handling.__exit__(None, None, None)

    def fail(self, error: BaseException) -> BaseException:
        """End a run that `error` ended, and close all; what fails meanwhile is a note on it.

        Returns the error to raise; see `close_after`.
        """
        if not self.is_open:
            return error
        self.is_open = False
        self._is_closing()
        try:
            return close_after(error, self._run, self._run.callbacks, self._events)
        finally:
            self._handling.__exit__(None, None, None)

    def _is_closing(self) -> None:
        if self.signals is not None:
            self.signals.closing = True
