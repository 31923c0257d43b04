"""`CrashCapsule`."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import final

from trackside.callbacks.watching.capsule_files import (
    CapsuleFiles,
    about_error,
    all_stacks,
    batch_in,
    frames_of,
    is_within_a_step,
)
from trackside.callbacks.watching.event_ring import EventRing
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder.inside import new_folder_inside
from trackside.step.memory import Held

logger = logging.getLogger("trackside")
EVENTS = 100
_MEGABYTE = 1_000_000
_MOST = 10
"""Capsules of one run, the last of which is kept for its end."""


@final
class CrashCapsule(Callback):
    """Leaves a folder about a crash: after an error, a loss that ends the run, an alarm.

    A capsule is `capsules/step-0000000012/` in the run's folder: the batch under way and the states
    of the random generators (`tensors.safetensors`); the error, the position, the last hundred
    calls of hooks, versions and memory (`capsule.json`); the stacks of all threads (`stacks.txt`).
    Nothing is pickled. `trackside replay CAPSULE` trains from the newest checkpoint before that
    step and says whether the same error comes. On several ranks each writes its own.

    It comes with an error of any kind, with a stop for numbers that went wrong, and with each alarm
    of a `Watchdog`; a signal leaves none. A run has ten at most, and alarms leave one of them for
    its end. Until then each call of a hook is noted, of those that a callback has, and nothing else
    costs time.

    Args:
        data: Whether the batch is kept. Without it the capsule has its number only; the message of
            an error may name values all the same.
        limit_megabytes: The most that a capsule takes, 2 or more. A batch that doesn't fit is left
            out, and the capsule says so.
        folder: Where, in the run's folder.

    Raises:
        ConfigurationError: A limit below 2 megabytes.

    Example:
        >>> CrashCapsule(limit_megabytes=50)
        CrashCapsule(limit_megabytes=50)
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    writes = ("folder",)

    def __init__(
        self, *, data: bool = True, limit_megabytes: float = 100.0, folder: str | Path = "capsules"
    ) -> None:
        if not limit_megabytes >= 2:
            raise ConfigurationError(
                f"limit_megabytes={limit_megabytes!r} is too small",
                expected="2 or more",
                option="limit_megabytes",
            )
        self.data = data
        self.limit_megabytes = limit_megabytes
        self.folder = str(local_path(folder, "folder"))
        self.written: list[Path] = []
        """Capsules of this run."""
        self._told = False
        """Whether it was said that there are no more of them."""
        self._ring: EventRing | None = None
        self._thread = 0

    def held(self, run: Run, model_bytes: int, state_bytes: int) -> list[Held]:
        """The capsules of a run; each may take as much in memory while it is written."""
        most = int(self.limit_megabytes * _MEGABYTE)
        limit = "CrashCapsule(limit_megabytes=...)"
        return [Held(f"{_MOST} crash capsules at most", "disk", _MOST * most, limit)]

    def on_attach(self, run: Run) -> None:
        self.written = []
        self._told = False
        self._thread = threading.get_ident()
        events = run.callbacks.dispatcher
        self._ring = EventRing(EVENTS, events.guard, run.callbacks.name_of(self))
        events.look_on(self._ring)

    def on_exception(self, run: Run, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._write(run, "error", error)

    def on_stop(self, run: Run, reason: str) -> None:
        request = run.stop_request
        if request is not None and request.diverged:
            self._write(run, "non-finite", None, said=reason)

    def alarm(self, run: Run, message: str) -> None:
        """Leave a capsule of a run that stands still; called by another thread."""
        self._write(run, "watchdog", None, said=message)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._ring = None

    def _write(self, run: Run, reason: str, error: BaseException | None, said: str = "") -> None:
        most = _MOST - 1 if reason == "watchdog" else _MOST
        if len(self.written) >= most:
            if not self._told:
                self._told = True
                logger.warning("no further crash capsule (%s): there are %d", reason, most)
            return
        limit_bytes = int(self.limit_megabytes * _MEGABYTE)
        files = CapsuleFiles(run, limit_bytes, keeps_data=self.data)
        frames = frames_of(error, self._thread)
        done, within = run.progress.steps_completed, is_within_a_step(frames)
        files.content |= {
            "reason": reason,
            "said": said,
            "error": None if error is None else about_error(error),
            "run": {"id": run.id, "directory": str(run.directory.absolute())},
            "rank": run.world.rank,
            "ranks": run.world.size,
            "step": done + within,
            "within_the_step": within,
            "progress": run.progress.state_dict(),
            "evaluation": None if run.evaluation is None else run.evaluation.name,
            "events": [] if self._ring is None else self._ring.last(),
        }
        files.add_batch(batch_in(frames))
        files.add_generators()
        files.add_machine()
        place = self._new_folder(run, done + within)
        size = files.write(place, all_stacks(error))
        self.written.append(place)
        logger.warning("a crash capsule of %.2f MB is in %s", size / _MEGABYTE, place)

    def _new_folder(self, run: Run, step: int) -> Path:
        name = f"step-{step:010}" + (f"-rank-{run.world.rank}" if run.world.size > 1 else "")
        return new_folder_inside(run.directory, f"{self.folder}/{name}")
