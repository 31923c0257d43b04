"""Errors that say what to type next.

Every error says what happened, and where it helps: what was expected, what came instead, and the
remedy. Errors are raised as early as they can be known: at construction, then at registration,
only then while running.
"""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import ne
from typing import Any, ClassVar, Self

from trackside.secret import as_written


class TracksideError(Exception):
    """An error that Trackside itself raises.

    Args:
        message: What happened, in one sentence.
        expected: What would have been right.
        received: What came instead.
        remedy: What to do about it.
        option: Name of the parameter that it is about, as the constructor or function spells it.
        callback: Name, in its run, of the callback that it is about.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        received: str | None = None,
        remedy: str | None = None,
        option: str | None = None,
        callback: str | None = None,
    ) -> None:
        self.message = message
        self.expected = expected
        self.received = received
        self.remedy = remedy
        self.option = option
        self.callback = callback
        lines = [message]
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if received is not None:
            lines.append(f"  received: {received}")
        if remedy is not None:
            lines.append(f"  to fix:   {remedy}")
        super().__init__("\n".join(lines))

    def __str__(self) -> str:
        # Where an error of ours is a KeyError as well, its text stands without quotes.
        return str(self.args[0])


class UsageError(TracksideError):
    """The front door was called in a way that can't work: no limit, no data, two limits."""


class MisspeltNameError(UsageError, ImportError):
    """A package of ours has no such name, and one that is nearly the same."""


class ConfigurationError(TracksideError):
    """A configuration, or an option of a trainer or callback, is wrong."""


class ScheduleError(ConfigurationError):
    """A schedule that isn't exactly one unit, or a unit that doesn't exist."""


class UnknownNameError(ConfigurationError, KeyError):
    """Something was asked for by a name that nothing has."""

    noun: ClassVar[str] = "name"
    """Noun for the thing that has the name."""

    @classmethod
    def among(
        cls, known: Iterable[str], name: object, purpose: str = "", *, option: str | None = None
    ) -> Self:
        """The error for a name that isn't among those that are known.

        Args:
            known: The names that there are.
            name: The one that was given.
            purpose: For what, such as `to export`.
            option: The parameter by which it was given.
        """
        known = list(known)
        meant = nearest(str(name), known)
        return cls(
            " ".join(filter(None, (f"there is no {cls.noun} named {name!r}", purpose))),
            expected="one of " + ", ".join(known) if known else f"nothing: there is no {cls.noun}",
            remedy=None if meant is None else f"did you mean `{meant}`?",
            option=option,
        )


class UnknownDataError(UnknownNameError):
    """There is no data of that name in the run."""

    noun = "data"


class UnknownModelError(UnknownNameError):
    """There is no model of that name in the run."""

    noun = "model"


class UnknownOptimizerError(UnknownNameError):
    """There is no optimizer of that name in the run."""

    noun = "optimizer"


class UnknownCallbackError(UnknownNameError):
    """There is no callback of that name in the collection."""

    noun = "callback"


class WrongTimeError(UsageError, RuntimeError):
    """Something was called before, or after, the time at which it can be."""


class HistoryError(UsageError, ValueError):
    """A record that lies before one that the history has already."""


class RegistrationError(TracksideError):
    """A callback can't join: the base of everything refused at registration."""


class UnknownHookError(RegistrationError):
    """A method begins with `on_` but isn't a hook: it would never be called."""


class HookSignatureError(RegistrationError):
    """A hook is defined with parameters that it isn't called with."""


class DeclarationError(RegistrationError):
    """An attribute of a callback is nearly a declaration, or a declaration has a wrong value."""


class DuplicateCallbackError(RegistrationError):
    """The same instance twice, or two callbacks under one name."""


class OrderCycleError(RegistrationError):
    """`runs_after` and `runs_before` contradict each other."""


class MissingRequirementError(RegistrationError):
    """A callback needs a property of the run, or another callback, that isn't there."""


class DataError(TracksideError):
    """Data that is empty, ends early, or can't be understood."""


class LossError(TracksideError):
    """A loss that isn't a scalar tensor with a gradient."""


class MonitorError(ConfigurationError):
    """A callback watches a value that nothing logs."""


class OptimizerError(ConfigurationError):
    """An optimizer that can't train this model."""


class NonFiniteError(TracksideError):
    """A value became NaN or infinite."""


class ObserverError(TracksideError):
    """A callback that declares that it only observes has changed training."""


class CorruptionError(TracksideError):
    """A step that was computed twice had different bits."""


class DisagreementError(TracksideError):
    """Ranks that train together no longer have the same model, options or data."""


class CheckpointError(TracksideError):
    """A checkpoint can't be written, read, or trusted."""


@contextmanager
def about(*, option: str | None = None, callback: str | None = None) -> Iterator[None]:
    """Say of errors of ours from within which option, or callback, they are about.

    What an error says of itself is kept: it was nearer.
    """
    try:
        yield
    except TracksideError as error:
        error.option = error.option or option
        error.callback = error.callback or callback
        raise


class StopTraining(Exception):
    """Raised in a hook: a request to stop, not a failure. The other callbacks still get the event.

    Args:
        reason: Why, in words that will stand in the outcome.
    """

    def __init__(self, reason: str = "a callback raised StopTraining") -> None:
        self.reason = reason
        super().__init__(reason)


class Interrupted(KeyboardInterrupt, SystemExit):
    """Ctrl-C: raised after the clean end of a run that it ended, so that a loop of runs ends too.

    It is a `KeyboardInterrupt`. Where nobody catches it, the process ends with exit code 130, also
    a child that `multiprocessing` has started.

    Args:
        signal: Number of the signal.
        text: Its name.
    """

    result: Any = None
    """The result of the run, as `trainer.result`; None where the run was not closed yet."""

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.signal = signal
        self.code = 128 + signal


class Terminated(SystemExit):
    """SIGTERM, or another signal that asks for the end: raised after the clean end of the run.

    Where nobody catches it, the process ends with exit code 128 + signal: 143 for SIGTERM.

    Args:
        signal: Number of the signal.
        text: Its name.
    """

    result: Any = None
    """The result of the run, as `trainer.result`; None where the run was not closed yet."""

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.signal = signal
        self.code = 128 + signal


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` as it may be shown: secrets as written, control characters as escapes.

    So no terminal obeys them. Line breaks and tabs stay. Marks that turn the direction of writing
    count as control characters, and so do bytes of a file's name that are no text.
    """
    text = as_written(text)
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


def shortened(value: object, most: int = 60) -> str:
    """The repr of a value on one line of at most `most` characters."""
    line = " ".join(repr(value).split())
    return line if len(line) <= most else f"{line[: most - 4].rstrip()} ..."


def text_of(error: BaseException) -> str:
    """The text of `error`, printable; never raises."""
    try:
        return printable(str(error))
    except BaseException as second:  # whoever ends the run because of `error` has to go on
        return f"(its text can't be made: {type(second).__name__})"


def note_on(error: BaseException, doing: str, other: BaseException) -> None:
    """Keep `other`, which came up while `error` was under way, as a note on `error`."""
    if other is error:
        return
    # Python remembers `error` as what was being handled: it need not appear inside its own note.
    link = other
    while link.__context__ is not None and link.__context__ is not error:
        link = link.__context__
    link.__context__ = None
    text = "".join(traceback.format_exception(other)).rstrip()
    error.add_note(f"while {doing}, another error came up:\n{text}")


_LISTED = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when nothing comes close."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    # difflib's ratio can miss one wrong letter among equal ones.
    found += [k for k in known if len(k) == len(word) > 2 and sum(map(ne, k, word)) == 1]
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A remedy that names the nearest known word, or lists a few when nothing comes close."""
    known = sorted(known)
    match = nearest(word, known)
    if match is not None:
        return f"did you mean `{match}`?"
    if not known:
        return None
    more = ", ..." if len(known) > _LISTED else ""
    return "one of: " + ", ".join(known[:_LISTED]) + more


@contextmanager
def restoring(what: str) -> Iterator[None]:
    """Turn whatever goes wrong while `what` takes its state into an error about the checkpoint."""
    try:
        yield
    except TracksideError:
        raise
    except Exception as error:  # of torch, of a callback of the user's: of any kind
        raise CheckpointError(
            f"{what} is not the one in the checkpoint: {type(error).__name__}: {error}",
            remedy="build it as it was; to start again from the weights, use the callback "
            "`LoadWeights`",
        ) from error
