"""The ways a run ends."""

from __future__ import annotations

import enum
import signal as signals
from dataclasses import dataclass

FAILED = 1
WRONG_USAGE = 2
DIVERGED = 3


class Status(enum.StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    """It reached its limit."""
    STOPPED = "stopped"
    """A callback, or the trainer's own code, asked for the end."""
    INTERRUPTED = "interrupted"
    """A person or the cluster asked for the end: Ctrl-C, SIGTERM."""
    DIVERGED = "diverged"
    """Its numbers ended it: a loss that isn't finite, a loss scale that fell to nothing, a run
    with fp16 in which no update was made."""
    FAILED = "failed"
    """An error ended it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: status, why, who asked, at which step, and the error if there was one."""

    status: Status
    reason: str
    asked_by: str | None = None
    """Name of the callback that asked, `"signal"`, `"trainer"`, or None for a limit."""
    step: int = 0
    """Steps completed when it ended."""
    error: BaseException | None = None
    signal: int | None = None
    """Number of the signal that interrupted the run."""

    @property
    def exit_code(self) -> int:
        """0 completed or stopped, 1 failed, 3 diverged, 128 + signal when interrupted (130, 143).

        See `ENDINGS`.
        """
        if self.status is Status.INTERRUPTED:
            return 128 + (self.signal or signals.SIGINT)
        if isinstance(self.error, SystemExit):
            return exit_code_of(self.error)
        return {Status.FAILED: FAILED, Status.DIVERGED: DIVERGED}.get(self.status, 0)

    def __str__(self) -> str:
        by = f", asked by {self.asked_by}" if self.asked_by else ""
        return f"{self.status.value} at step {self.step}: {self.reason}{by}"


@dataclass(frozen=True, slots=True)
class Ending:
    """One way in which a run ends, and what a caller, a shell and a cluster see of it."""

    name: str
    status: Status | None
    """None where nobody is left to say: then the run's folder shows it as `unfinished`."""
    exit_code: int
    raised: str
    """The exception that `fit` raises; None: it returns."""
    saved: str
    """Steps that a `Checkpoint` has kept."""
    closed: bool = True
    """Whether every callback is closed."""


_AT_END = "as its schedule says, the end included"
_THERE = "that step"
_BEFORE = "up to the last save"
ENDINGS = (
    Ending("the limit is reached", Status.COMPLETED, 0, "returns", _AT_END),
    Ending(
        "a callback, the trainer or `trackside ask` stops it", Status.STOPPED, 0, "returns", _THERE
    ),
    Ending("Ctrl-C (SIGINT)", Status.INTERRUPTED, 130, "KeyboardInterrupt", _THERE),
    Ending("SIGTERM", Status.INTERRUPTED, 143, "SystemExit", _THERE),
    Ending("SIGHUP", Status.INTERRUPTED, 129, "SystemExit", _THERE),
    Ending("SIGUSR1, where `stop_signals` names it", Status.INTERRUPTED, 138, "SystemExit", _THERE),
    Ending("a second Ctrl-C", Status.INTERRUPTED, 130, "KeyboardInterrupt", _BEFORE),
    Ending(
        "Ctrl-C while a completed run closes", Status.COMPLETED, 130, "KeyboardInterrupt", _AT_END
    ),
    Ending(
        "a loss that isn't finite (`TerminateOnNonFinite`)",
        Status.DIVERGED,
        DIVERGED,
        "returns",
        _THERE,
    ),
    Ending(
        "the same by policy `raise`, or at a save", Status.DIVERGED, DIVERGED, "the error", _BEFORE
    ),
    Ending("fp16 in which no update was made", Status.DIVERGED, DIVERGED, "returns", _AT_END),
    Ending("no recorded loss was finite", Status.DIVERGED, DIVERGED, "returns", _AT_END),
    Ending("an error in a step", Status.FAILED, FAILED, "the error", _BEFORE),
    Ending("an error of a callback between two steps", Status.FAILED, FAILED, "the error", _THERE),
    Ending("`sys.exit(7)` in a hook or a step", Status.FAILED, 7, "SystemExit", _BEFORE),
    Ending("wrong usage or configuration", Status.FAILED, WRONG_USAGE, "the error", "nothing"),
    Ending("killed (SIGKILL, power)", None, 137, "nothing", _BEFORE, closed=False),
)
"""Every way a run can end. Tests hold code, command line and documents to it."""


def status_of_stop(*, signal: int | None, diverged: bool) -> Status:
    """The status of a run that a request has ended."""
    if signal is not None:
        return Status.INTERRUPTED
    return Status.DIVERGED if diverged else Status.STOPPED


def exit_code_of(leaving: SystemExit) -> int:
    """The exit code of a process that ends by `leaving`: 0 for none, 1 for words."""
    return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
