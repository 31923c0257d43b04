"""From attach to close: whatever happens in between, everybody is closed, the outcome known."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

from trackside.errors import note_on
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome, Status
from trackside.run import Run


class Terminated(SystemExit):
    """The second SIGTERM: the process ends at once, with exit code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class StopOnSignals(AbstractContextManager["StopOnSignals"]):
    """The first SIGINT or SIGTERM asks for a stop and a checkpoint; the second ends at once.

    Handlers are installed in the main thread only, and the former ones put back. While callbacks
    are being closed, a second signal ends the `on_close` under way; the others are still closed.
    """

    def __init__(self, run: Run, events: Dispatcher) -> None:
        self._run = run
        self._events = events
        self._former: dict[int, Any] = {}
        self._asked = False
        self.closing = False
        """Whether the run itself is over."""

    def __enter__(self) -> StopOnSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            # None stands for a handler that wasn't installed from Python: it can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            if self.closing and self._events.current_callback is None:
                return  # between two callbacks: an error here would leave the next one unclosed
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        self._asked = True
        word = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        self._run.save(word, asked_by="signal")
        self._run.stop(word, asked_by="signal", signal=number)


def live(
    run: Run,
    callbacks: CallbackCollection,
    events: Dispatcher,
    first: Callback[Any] | None,
    body: Callable[[], Outcome],
) -> Outcome:
    """Attach everybody, run `body`, close everybody, in reverse order and exactly once.

    Args:
        run: The run; its `outcome` is set before anybody is closed.
        callbacks: Who takes part.
        events: Calls them.
        first: Somebody who comes before all callbacks (and is closed last): the trainer.
        body: The run itself; returns how it ended when no error ends it.

    Raises:
        BaseException: The first error, unchanged, with errors of the clean-up as notes.
        BaseExceptionGroup: The errors of the clean-up, where there was none before.
    """
    with StopOnSignals(run, events) as signals:
        try:
            try:
                callbacks.enter(events, first)
                run.outcome = body()
            finally:
                signals.closing = True
        except BaseException as error:
            signals.closing = True  # a second signal may have come before the line above
            run.outcome = outcome_of(error, run.progress.steps_completed)
            for other in events.fire_guarded(Callback.on_exception, error):
                note_on(error, "handling it", other)
            for other in _close(run, callbacks, events):
                note_on(error, "closing", other)
            raise
        errors = _close(run, callbacks, events)
    if errors:
        raise BaseExceptionGroup("callbacks failed while closing", errors)
    return run.outcome


def _close(run: Run, callbacks: CallbackCollection, events: Dispatcher) -> list[BaseException]:
    if run.outcome is None:
        raise AssertionError("closing a run without an outcome")
    try:
        return events.close(run.outcome)
    finally:
        callbacks.leave()


def outcome_of(error: BaseException, step: int) -> Outcome:
    """The outcome of a run that `error` ended."""
    if isinstance(error, KeyboardInterrupt):
        return Outcome(
            Status.INTERRUPTED, "Ctrl-C", "signal", step, error=error, signal=signal.SIGINT
        )
    if isinstance(error, Terminated):
        return Outcome(
            Status.INTERRUPTED, "SIGTERM", "signal", step, error=error, signal=signal.SIGTERM
        )
    try:
        text = f": {error}" if str(error) else ""
    except Exception:  # an error that can't say what it is must not keep callbacks from closing
        text = ""
    reason = f"{type(error).__name__}{text}".splitlines()[0]
    return Outcome(Status.FAILED, reason, step=step, error=error)
