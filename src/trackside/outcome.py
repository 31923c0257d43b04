"""The ways a run ends."""

from __future__ import annotations

import enum
import signal as signals
from dataclasses import dataclass


class Status(enum.StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    """It reached its limit."""
    STOPPED = "stopped"
    """A callback, or the trainer's own code, asked for the end."""
    INTERRUPTED = "interrupted"
    """A person or the cluster asked for the end: Ctrl-C, SIGTERM."""
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
        """0 completed or stopped, 1 failed, 128 + signal when interrupted (130, 143)."""
        if self.status is Status.INTERRUPTED:
            return 128 + (self.signal or signals.SIGINT)
        if isinstance(self.error, SystemExit):
            return exit_code_of(self.error)
        return 1 if self.status is Status.FAILED else 0

    def __str__(self) -> str:
        by = f", asked by {self.asked_by}" if self.asked_by else ""
        return f"{self.status.value} at step {self.step}: {self.reason}{by}"


def exit_code_of(leaving: SystemExit) -> int:
    """The exit code of a process that ends by `leaving`: 0 for none, 1 for words."""
    return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
