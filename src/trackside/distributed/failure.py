"""The first failure, and its rank: the record that ends all ranks."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import torch.distributed as dist

from trackside.errors import TracksideError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_KEY = "failure"
# What gloo and NCCL say when the other side is gone; they have no class of their own for it.
_MARKS = ("gloo", "nccl", "closed by peer", "reset by peer", "broken pipe", "process group")
_WITHOUT_END = (
    "let every rank call the same collectives in the same order: none under a condition that "
    "differs between ranks (`if rank == 0`), and no schedule, metric or end that only some reach; "
    "TRACKSIDE_CHECK_COLLECTIVES=1 compares what callbacks call"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The first failure in a world of ranks."""

    rank: int | None
    """Where; None when the job as a whole has lost its ground."""
    kind: Literal["raised", "died", "left", "silent", "lost", "waiting"]
    """An error; a process that ended without a word, or in order but too early, or is silent; or
    the rendezvous store is gone; or all ranks wait for each other."""
    step: int | None
    """Steps completed on that rank; None when it could not say."""
    time: float
    """Seconds since the epoch, by the clock of who reported it."""
    summary: str
    """One line: type and message of the error, or what is known."""
    traceback: str = ""
    """The whole traceback, with notes and causes; empty for a rank that left none."""

    @classmethod
    def of(cls, error: BaseException, rank: int, step: int) -> Failure:
        """The record of an error that was raised on `rank`."""
        summary = traceback.format_exception_only(error)[0].strip()
        text = "".join(traceback.format_exception(error))
        return cls(rank, "raised", step, time.time(), summary, text)

    @classmethod
    def of_process(cls, rank: int, end: Literal["died", "left"]) -> Failure:
        """The record of a process that ended without reporting an error."""
        summary = {
            "died": "its process ended without a word: killed (out of memory?), or crashed",
            "left": "its program ended while others were still training",
        }
        return cls(rank, end, None, time.time(), summary[end])

    @classmethod
    def silence(cls, rank: int, seconds: float) -> Failure:
        """The record of a process that has not answered for `seconds`."""
        summary = f"its process has not answered for {seconds:.0f} seconds: stopped, or cut off"
        return cls(rank, "silent", None, time.time(), summary)

    @classmethod
    def of_store(cls) -> Failure:
        """The record of a store that doesn't answer: where the ranks could tell each other."""
        summary = "the rendezvous store can't be reached: its host, or the launcher, is gone"
        return cls(None, "lost", None, time.time(), summary)

    @classmethod
    def waiting(cls, seconds: float, places: str) -> Failure:
        """The record of ranks that wait for each other, each in another collective."""
        summary = f"all ranks wait for each other, for {seconds:.0f} seconds:\n{places}"
        return cls(None, "waiting", None, time.time(), summary)

    @property
    def headline(self) -> str:
        """Rank, time and error in one line."""
        if self.rank is None:
            return self.summary
        when = "" if self.step is None else f" at step {self.step}"
        return f"rank {self.rank} failed first{when}: {self.summary}"

    def __str__(self) -> str:
        text = self.traceback.rstrip()
        return f"{self.headline}\n\n{text}" if text else self.headline


class PeerFailed(TracksideError):
    """Another rank failed first, so this one ends, too.

    Args:
        failure: What happened there.
        rank: This rank.
    """

    def __init__(self, failure: Failure, rank: int) -> None:
        self.failure = failure
        where = "the launcher" if failure.rank is None else f"rank {failure.rank}"
        super().__init__(
            f"rank {rank} ends because {failure}",
            remedy=_WITHOUT_END
            if failure.kind == "waiting"
            else None
            if failure.kind == "raised"
            else f"look at the log of {where} and of its machine",
        )
        # What this rank was doing when it was stopped is not the cause: the other's error is.
        self.__suppress_context__ = True


def publish(store: Store, failure: Failure) -> Failure:
    """Make `failure` known to all ranks, unless another was first; returns the first."""
    first = store.compare_set(_KEY, "", json.dumps(asdict(failure)))
    return Failure(**json.loads(first))


def published(store: Store) -> Failure | None:
    """The first failure, if there has been one."""
    return Failure(**json.loads(store.get(_KEY))) if store.check([_KEY]) else None


def is_consequence(error: BaseException) -> bool:
    """Whether `error` may be due to another rank's end: a collective that broke off."""
    return any(
        isinstance(e, PeerFailed | dist.DistError)
        or (isinstance(e, RuntimeError | OSError) and any(m in str(e).lower() for m in _MARKS))
        for e in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
