"""Signals that ask for the end of a run: the first saves and stops, an impatient one ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

from trackside.errors import ConfigurationError, Interrupted, Terminated
from trackside.lifecycle.dispatch import Dispatcher
from trackside.run import Run

GRACE_SECONDS = 20.0
"""Launchers repeat SIGTERM at will, and kill 30 seconds after the first."""
ALWAYS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that ask for the end of every run."""
_NEVER = ("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGURG", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")


def signal_numbers(
    names: Iterable[str], option: str = "stop_signals"
) -> tuple[signal.Signals, ...]:
    """The signals of these names.

    Args:
        names: Such as `SIGUSR1`.
        option: The option that names them, for the message.

    Raises:
        ConfigurationError: The signal doesn't exist, or a program can't handle it.
    """
    possible = [one.name for one in signal.Signals if one.name not in _NEVER]
    if isinstance(names, str):
        raise ConfigurationError(
            f"`{option}` must be a list of names",
            option=option,
            received=repr(names),
            remedy=f"[{names!r}]",
        )
    for name in names:
        if name not in possible:
            raise ConfigurationError(
                f"{name!r} can't ask for the end of a run",
                option=option,
                expected="names of signals that a process may handle, such as 'SIGUSR1'",
                received=repr(name),
            )
    return tuple(signal.Signals[name] for name in names)


def word_for(number: int) -> str:
    """Name of a signal for messages: `Ctrl-C`, `SIGTERM`."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def ending(number: int) -> Interrupted | Terminated:
    """The exception that ends a program that got this signal."""
    kind = Interrupted if number == signal.SIGINT else Terminated
    return kind(number, word_for(number))


class StopOnSignals(AbstractContextManager["StopOnSignals"]):
    """The first signal asks for a checkpoint and the end; an impatient one ends the run at once.

    Launchers and clusters send SIGTERM more than once: repeated within the grace, it is the same
    request. A further SIGINT is always impatient. Handlers are installed in the main thread only,
    and the former ones put back. A SIGHUP that the process ignores (`nohup`) stays ignored. While
    callbacks are being closed, an impatient signal ends the `on_close` under way; the others are
    still closed.

    Args:
        run: Who is asked.
        events: Tells whether a callback is being called.
        more: Signals that ask for the end beside SIGINT, SIGTERM and SIGHUP.
        grace_seconds: How long after the first signal others than SIGINT only repeat it.
        clock: Seconds by any clock that doesn't go back.
    """

    def __init__(
        self,
        run: Run,
        events: Dispatcher,
        more: Iterable[int] = (),
        grace_seconds: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._events = events
        self._numbers = (*ALWAYS, *(number for number in more if number not in ALWAYS))
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._process = os.getpid()
        self._former: dict[int, Any] = {}
        self._first_at = 0.0
        self.number: int | None = None
        """The first signal that came; None while there was none."""
        self.closing = False
        """Whether the run itself is over."""

    def __enter__(self) -> StopOnSignals:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                former = signal.getsignal(number)
                if former is signal.SIG_IGN and number not in (signal.SIGINT, signal.SIGTERM):
                    continue
                self._former[number] = _python_s_own if former is late_interrupt else former
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            if number == signal.SIGINT and self.number is not None and handler is _python_s_own:
                handler = late_interrupt
            # None stands for a handler that wasn't installed from Python: it can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # in a child that was just forked: it is not the one that was meant
        if self.number is None:
            self.number, self._first_at = number, self._clock()
            self._keep_children_quiet()
            word = word_for(number)
            self._run.save(word, asked_by="signal")
            self._run.stop(word, asked_by="signal", signal=number)
        elif self._is_impatient(number) and not self._between_closings:
            raise ending(number)

    def _is_impatient(self, number: int) -> bool:
        return number == signal.SIGINT or self._clock() - self._first_at >= self._grace_seconds

    @property
    def _between_closings(self) -> bool:
        """Whether an error now would leave the next callback unclosed."""
        return self.closing and self._events.current_callback is None

    def _keep_children_quiet(self) -> None:
        """Ignore the ends of child processes, so that they raise no error in other code.

        torch does that when a loader's worker dies. The loader notices it as well when it is asked
        for the next batch, where it does no harm.
        """
        if callable(former := signal.getsignal(signal.SIGCHLD)):
            self._former[signal.SIGCHLD] = former
            signal.signal(signal.SIGCHLD, _nothing)


_python_s_own = signal.default_int_handler


def late_interrupt(number: int, frame: FrameType | None) -> None:
    """Python's own answer to Ctrl-C, with an exit code that is 130 in every kind of process.

    Takes its place after a run that a signal has ended: one more may be on its way.
    """
    raise ending(number)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing."""
