"""Callbacks that take part when a step is made again: those that may have a say in training."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from trackside.checkpoint.retention import Retention
from trackside.checkpoint.saver import Saver
from trackside.config.experiment.steering import Steering
from trackside.errors import UsageError, did_you_mean
from trackside.lifecycle.adoption import original
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.tracking.tracker import Tracker

_OBSERVING = ("pictures", "performance", "reporting", "saving", "watching")
"""Folders of built-in callbacks that write and measure, and leave training as it is."""
_CHANGING = ("load_weights", "transfer_weights")
"""Modules in these folders whose callbacks change weights."""


def only_those_with_a_say(
    callbacks: CallbackCollection, folder: Path, without: Iterable[str] = ()
) -> tuple[str, ...]:
    """Remove callbacks that only observe, and let nothing be saved; the names of those removed.

    One that another needs, or whose values another watches, stays. Callbacks of other origin stay
    too, as in a rehearsal: what they write into the run's folder goes into `folder`.

    Args:
        callbacks: Of a trainer that isn't running.
        folder: Where those that stay may write.
        without: Names of callbacks that are removed in any case.

    Raises:
        UsageError: There is none of such a name.
    """
    asked = set(without)
    for unknown in sorted(asked.difference(callbacks.names)):
        raise UsageError(
            f"the run has no callback named {unknown!r}: it can't be left out",
            remedy=did_you_mean(unknown, callbacks.names),
        )
    for name, one in callbacks.items():
        if isinstance(one, Saver):
            callbacks[name] = SavesNothing(one.retention)
    leaving = [
        name
        for name, one in callbacks.items()
        if name in asked or _observes(one) or not one.rehearse_in(folder)
    ]
    staying = [one for name, one in callbacks.items() if name not in leaving]
    needed = [
        name for name in leaving if name not in asked and _is_needed(callbacks[name], staying)
    ]
    removed = [name for name in leaving if name not in needed]
    for name in reversed(removed):
        del callbacks[name]
    return tuple(removed)


def _observes(callback: Callback[Any]) -> bool:
    if callback.effect == "observes":
        return True
    one = original(callback)
    if isinstance(one, (Tracker, Steering)):
        return True
    package, _, rest = type(one).__module__.partition("trackside.callbacks.")
    purpose, _, module = rest.partition(".")
    return not package and purpose in _OBSERVING and module not in _CHANGING


def _is_needed(callback: Callback[Any], staying: Iterable[Callback[Any]]) -> bool:
    return any(
        isinstance(callback, one.requires)
        or any(fnmatchcase(name, logged) for name in one.monitors for logged in callback.logs)
        for one in staying
    )


class SavesNothing(Callback[Run], Saver):
    """Stands in for the callback that saves: whoever asks for a checkpoint is heard, and no more.

    Args:
        retention: Of the one whose place it takes.
    """

    runs_in = ("fit",)

    def __init__(self, retention: Retention) -> None:
        self.retention = retention

    @property
    def is_writing(self) -> bool:
        """Never."""
        return False

    def on_attach(self, run: Run) -> None:
        """Take the place."""
        run.saver = self

    def root(self, run: Run) -> Path:
        """A folder without checkpoints."""
        return run.directory / "checkpoints"

    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """Do nothing."""

    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        """Save nothing."""

    def poll(self, run: Run) -> None:
        """Nothing becomes whole."""

    def finish_saves(self, run: Run) -> None:
        """Nothing is waited for."""
