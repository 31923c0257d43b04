"""The ranks that train each trial of a sweep together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, final

from trackside.distributed.failure import PeerFailed, is_consequence
from trackside.distributed.setup import RankInfo, join, leave
from trackside.errors import TracksideError

T = TypeVar("T")
_GONE = ("died", "left", "silent", "lost")
"""Failures after which a rank is not there any more, or can't be reached."""


class RankError(TracksideError):
    """Another rank had an error, so the trial has failed on this one as well."""


@final
class Ranks:
    """The processes that a launcher started for one sweep; in a process alone, nothing.

    Between two trials they meet in a group on the CPU. The run of a trial joins a
    group for itself: an error in it breaks that group, and no other trial.
    """

    def __init__(self) -> None:
        place = RankInfo.from_environment()
        self.size = place.size
        self.is_first = place.rank == 0
        """Whether this rank has the trials, and speaks for all."""

    def from_first(self, ask: Callable[[], T]) -> T:
        """The value that `ask` returns on rank 0, on every rank."""
        return ask() if self.size == 1 else join("cpu").on_rank_zero(ask)

    def together(self, part: Callable[[], T]) -> T:
        """The value that `part` returns on this rank, once it has returned on all.

        It may join another group.

        Raises:
            Exception: That of this rank.
            RankError: Another rank had one, in its words.
            PeerFailed: The process of another rank has ended: there is nobody to go on with.
        """
        if self.size == 1:
            return part()
        leave()
        error: Exception | None = None
        try:
            made = part()
        except PeerFailed as failed:
            if failed.failure.kind in _GONE:
                raise
            error = failed
        except Exception as caught:
            error = caught
        leave(failed=True if error is not None else None)
        first = _first(join("cpu").gather(_words(error)))
        if error is not None and not is_consequence(error):
            raise error
        if first is not None:
            raise RankError(first)
        return made


def _words(error: Exception | None) -> tuple[str, bool] | None:
    """An error in words, and whether it is only due to another rank's."""
    if error is None:
        return None
    return f"{type(error).__name__}: {error}", is_consequence(error)


def _first(errors: list[tuple[str, bool] | None]) -> str | None:
    """The error that the others are due to, with its rank; None where there is none."""
    found = [(one[1], rank, one[0]) for rank, one in enumerate(errors) if one is not None]
    if not found:
        return None
    _, rank, text = min(found)
    return f"rank {rank}: {text}"
