"""Ranks that wait for each other without end are found, and each rank's place is reported.

A collective that one rank calls and another doesn't leaves all ranks waiting. The thread of
`FailureWatch` looks whether the program still gets on: steps, and collectives that are done. Where
neither has changed for a while, the rank leaves its place in the rendezvous store. When every rank
waits in a collective, and not all in the same one, nothing will ever come: the run ends with the
places of all. A rank that is busy with something else is only reported by those that wait for it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from trackside.distributed.failure import Failure
from trackside.errors import ConfigurationError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from trackside.distributed.world import World

logger = logging.getLogger("trackside")

VARIABLE = "TRACKSIDE_WAIT_SECONDS"
DEFAULT_SECONDS = 30.0
BUSY = 0.3
"""Share of a core from which on a process counts as computing, not as waiting."""

_OURS = str(Path(__file__).resolve().parents[1])
_WAITING = (
    ("trackside/distributed/links.py", "wait_for"),
    ("torch/distributed/", ""),
    ("torch/autograd/graph.py", "_engine_run_backward"),
    ("torch/nn/parallel/distributed.py", ""),
)
"""Files, and functions in them, in which the program waits for other ranks."""
_LIBRARIES = ("site-packages", "dist-packages", os.path.dirname(os.__file__))


@dataclass(frozen=True)
class Place:
    """Where a rank stands."""

    waits: bool
    """Whether in a collective."""
    what: str
    """The collective, and the line that called it: the same where ranks wait together."""
    when: str
    """The step, the callback, the evaluation."""

    def __str__(self) -> str:
        return f"{'waits in' if self.waits else 'is in'} {self.what}, {self.when}"


def wait_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds after which a wait counts as endless, as the environment sets them; 0: never."""
    given = environment.get(VARIABLE, str(DEFAULT_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigurationError(
            f"{VARIABLE}={given!r} must be a time", expected="seconds, 0 or more; 0: no end"
        )
    return seconds


class Standstill:
    """Looks, from a thread beside it, whether this rank and all others get on.

    Args:
        world: The ranks.
        work_done: A number, or numbers, that change as the program gets on.
        when: Words for what the program is about, such as its step.
        seconds: How long nothing may change; 0 looks never.
        frames: The innermost frame of the program; tests put others here.
    """

    def __init__(
        self,
        world: World,
        work_done: Callable[[], object],
        when: Callable[[], str],
        seconds: float | None = None,
        frames: Callable[[], FrameType | None] | None = None,
    ) -> None:
        self._world = world
        self._work_done = work_done
        self._when = when
        self._seconds = wait_seconds() if seconds is None else seconds
        self._frames = frames or _of_main_thread
        self._last: object = None
        self._frame: FrameType | None = None
        self._reset(None)
        self._published = False
        self._reported = False
        self._seen_together = 0

    def look(self, store: Store) -> Failure | None:
        """Look once; returns the failure when all ranks wait for each other."""
        work = self._work_done()
        now = time.monotonic()
        if self._seconds <= 0 or work != self._last:
            self._reset(work)
            self._withdraw(store)
            return None
        if now - self._since < self._seconds / 2:
            return None
        frame = self._frames()
        if frame is not self._frame:  # held from here on, so that no other gets its identity
            self._frame, self._here_since, self._cpu = frame, now, time.process_time()
            self._seen_together = 0
        if frame is None or now - self._since < self._seconds:
            return None
        standing = now - self._here_since
        is_steady = standing >= self._seconds / 2
        is_computing = time.process_time() - self._cpu > BUSY * standing
        place = place_of(frame, self._when(), may_wait=is_steady and not is_computing)
        store.set(f"place/{self._world.rank}", json.dumps(asdict(place)))
        self._published = True
        return self._verdict(store, now - self._since) if place.waits else None

    def _reset(self, work: object) -> None:
        self._last, self._since = work, time.monotonic()
        self._frame, self._here_since, self._cpu = None, self._since, 0.0
        self._seen_together = 0

    def _withdraw(self, store: Store) -> None:
        if self._published:
            store.set(f"place/{self._world.rank}", "")
            self._published = self._reported = False
            self._seen_together = 0

    def _verdict(self, store: Store, waited: float) -> Failure | None:
        places = [self._of_rank(store, rank) for rank in range(self._world.size)]
        listed = "\n".join(
            f"  rank {rank} {'goes on' if place is None else place}"
            for rank, place in enumerate(places)
        )
        waiting = [place for place in places if place is not None and place.waits]
        if len(waiting) == len(places) and len({place.what for place in waiting}) > 1:
            self._seen_together += 1
            if self._seen_together > 2:  # none has gone on between two looks
                return Failure.waiting(waited, listed)
        elif not self._reported and waited > 1.5 * self._seconds:  # places of the others are known
            self._reported = True
            logger.warning(
                "rank %d has waited for the other ranks for %.0f seconds:\n%s",
                self._world.rank,
                waited,
                listed,
            )
        return None

    def _of_rank(self, store: Store, rank: int) -> Place | None:
        key = f"place/{rank}"
        said = store.get(key) if store.check([key]) else b""
        return Place(**json.loads(said)) if said else None


def place_of(frame: FrameType, when: str, *, may_wait: bool = True) -> Place:
    """The place of a program, from its innermost frame.

    Args:
        frame: The innermost.
        when: Words for what the program is about.
        may_wait: Whether it has been there for a while without computing.
    """
    frames = list(_outwards(frame))
    innermost = _name(frames[0])
    waits = may_wait and any(
        part in innermost and frames[0].f_code.co_name.startswith(function)
        for part, function in _WAITING
    )
    called = [f for f in frames if "trackside/distributed/world.py" in _name(f)]
    collective = called[-1] if called else frames[0]
    outside = frames[frames.index(collective) + 1 :] if called else frames
    own = next((f for f in outside if not _is_library(_name(f))), None)
    caller = own or next((f for f in outside if "torch/" not in _name(f)), frames[-1])
    name = collective.f_code.co_name.removeprefix("_engine_run_")
    line = f"{caller.f_code.co_filename}:{caller.f_lineno} ({caller.f_code.co_name})"
    return Place(waits, f"`{name}` called at {line}", when)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _name(frame: FrameType) -> str:
    return frame.f_code.co_filename.replace(os.sep, "/")


def _is_library(name: str) -> bool:
    return name.startswith((_OURS, "<")) or any(part in name for part in _LIBRARIES)


def _of_main_thread() -> FrameType | None:
    main: Any = threading.main_thread().ident
    return sys._current_frames().get(main)
