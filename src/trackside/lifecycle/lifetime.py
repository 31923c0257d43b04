"""From attach to close: whatever happens, every callback is closed and the outcome is known."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from trackside.errors import Interrupted, NonFiniteError, Terminated, note_on, text_of
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.signals import StopOnSignals, word_for
from trackside.outcome import Outcome, Status
from trackside.run import Run


def live(
    run: Run,
    callbacks: CallbackCollection,
    events: Dispatcher,
    first: Callback[Any] | None,
    body: Callable[[], Outcome],
    signals: StopOnSignals | None = None,
) -> Outcome:
    """Attach all callbacks, run `body`, close all in reverse order and exactly once.

    Args:
        run: The run; its `outcome` is set before anybody is closed.
        callbacks: Who takes part.
        events: Calls them.
        first: Somebody who comes before all callbacks (and is closed last): the trainer.
        body: The run itself; returns how it ended when no error ends it.
        signals: Handles signals already, and goes on doing so; None does it here.

    Raises:
        BaseException: The first error, unchanged, with errors of the clean-up as notes.
        BaseExceptionGroup: The errors of the clean-up, where there was none before.
        Interrupted, Terminated: An impatient signal came during the clean-up.
    """
    with nullcontext(signals) if signals else StopOnSignals(run, events) as signals:
        try:
            try:
                callbacks.enter(events, first)
                run.outcome = body()
                settle(run, events)
            finally:
                signals.closing = True
        except BaseException as caught:
            signals.closing = True  # an impatient signal may have come before the line above
            error = close_after(caught, run, callbacks, events)
            if error is not caught:
                raise error  # noqa: B904 - the later one is a note on it
            raise
        close(run, callbacks, events)
    return run.outcome


def close_after(
    caught: BaseException, run: Run, callbacks: CallbackCollection, events: Dispatcher
) -> BaseException:
    """Close all callbacks of a run that an error ended; errors of the clean-up are notes on it.

    Args:
        caught: The error that came out of the run.
        run: The run; its `outcome` is set before anybody is closed.
        callbacks: Who takes part.
        events: Calls them.

    Returns:
        The error to raise: that of a callback where one was waiting, or else the one that came out.
    """
    error = events.failures.first_of(caught)
    run.outcome = outcome_of(error, run.progress.steps_completed)
    for other in events.fire_guarded(Callback.on_exception, error):
        note_on(error, "handling it", other)
    for other in _settle_after(run):
        note_on(error, "waiting for a checkpoint", other)
    for other in _close(run, callbacks, events):
        note_on(error, "closing", other)
    return error


def close(run: Run, callbacks: CallbackCollection, events: Dispatcher) -> None:
    """Close all callbacks of a run that came to its end, and raise what went wrong with it."""
    if errors := _close(run, callbacks, events):
        raise _of_closing(errors)


def _of_closing(errors: list[BaseException]) -> BaseException:
    """The error to raise for `errors`: an impatient signal comes before all others."""
    signal = next((error for error in errors if isinstance(error, (Interrupted, Terminated))), None)
    if signal is None:
        return BaseExceptionGroup("callbacks failed while closing", errors)
    for other in errors:
        note_on(signal, "closing", other)
    return signal


def settle(run: Run, events: Dispatcher) -> None:
    """Report the last checkpoint while callbacks still listen; raise the error that waits."""
    _finish_saves(run)
    events.failures.raise_first()


def _finish_saves(run: Run) -> None:
    if run.saver is not None:
        run.saver.finish_saves(run)


def _settle_after(run: Run) -> list[BaseException]:
    """Do the same after an error; return further errors. Skipped where ranks may be missing."""
    world = getattr(run, "world", None)
    if world is None or world.size > 1:
        return []
    try:
        _finish_saves(run)
    except BaseException as error:  # the first error is the one that is raised
        return [error]
    return []


def _close(run: Run, callbacks: CallbackCollection, events: Dispatcher) -> list[BaseException]:
    if run.outcome is None:
        raise AssertionError("closing a run without an outcome")
    try:
        return events.close(run.outcome)
    finally:
        callbacks.leave()


def outcome_of(error: BaseException, step: int) -> Outcome:
    """The outcome of a run that `error` ended."""
    if isinstance(error, (Interrupted, Terminated, KeyboardInterrupt)):
        number = getattr(error, "signal", signal.SIGINT)
        return Outcome(
            Status.INTERRUPTED, word_for(number), "signal", step, error=error, signal=number
        )
    text = text_of(error)
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    status = Status.DIVERGED if isinstance(error, NonFiniteError) else Status.FAILED
    return Outcome(status, reason.splitlines()[0], step=step, error=error)
