"""Saver: who writes a run's checkpoints; the callback `Checkpoint` is one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackside.checkpoint.retention import Retention

if TYPE_CHECKING:
    from trackside.run import Run


class Saver(ABC):
    """Writes checkpoints of a run, and knows which of them stay."""

    retention: Retention
    """Rules for the checkpoints that stay, with the metric that ranks them."""
    needs_attention: bool = False
    """Set when a checkpoint has become whole, or has failed, since the last `poll`."""
    save_on_failure: bool = False
    """Whether to save when an evaluation or a callback fails, before the error ends the run."""

    blocked_seconds: float = 0.0
    """How long saves have kept the loop so far: copying, and waiting for the former one."""
    min_seconds: float = 0.0
    """How old the last checkpoint must be for the next to be due at an epoch's end."""
    waits: bool = False
    """Whether the run waits for each checkpoint: a callback works with the files of the step that
    is saved. Set for one run."""

    @property
    @abstractmethod
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written in the background."""

    @abstractmethod
    def root(self, run: Run) -> Path:
        """The folder that holds the run's checkpoints."""

    @abstractmethod
    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """See before the first step that a state like this can be saved."""

    @abstractmethod
    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        """Take a copy of the state and have it written."""

    @abstractmethod
    def poll(self, run: Run) -> None:
        """Announce checkpoints that have become whole; raise what went wrong in the background."""

    @abstractmethod
    def finish_saves(self, run: Run) -> None:
        """Wait for the checkpoint that is being written, and announce it."""


def saver_among(callbacks: Iterable[object]) -> Saver | None:
    """The one of `callbacks` that saves; None where nothing does. For a run that isn't started."""
    return next((callback for callback in callbacks if isinstance(callback, Saver)), None)
