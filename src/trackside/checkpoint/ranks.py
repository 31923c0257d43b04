"""Interface of the other ranks for writing and reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, final

from trackside.checkpoint.errors import CheckpointWriteError
from trackside.checkpoint.files import explain, remedy_for
from trackside.errors import TracksideError

T = TypeVar("T")


class Ranks(Protocol):
    """The processes that write one checkpoint together.

    The asynchronous writer calls `gather` from its own thread. It must therefore run on a
    group of CPU processes that nothing else uses, or its turns get mixed with those of the loop.
    """

    @property
    def rank(self) -> int:
        """Number of this process among them, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def gather(self, x: T, /) -> list[T]:
        """Every rank's `x`, a plain value, in order of rank, on every rank. Waits for all."""
        ...


@final
class SingleRank:
    """One process, alone."""

    rank = 0
    size = 1

    def gather(self, x: T, /) -> list[T]:
        """`x`, in a list."""
        return [x]


SINGLE_RANK = SingleRank()


def together(
    ranks: Ranks, work: Callable[[], T], *, failure: str = "the checkpoint could not be written"
) -> list[T]:
    """Do this rank's work, tell the others, and fail on all ranks if it failed on one.

    Args:
        ranks: All of them have to call.
        work: This rank's; its result must be plain values.
        failure: How the message begins when the operating system is to blame.

    Returns:
        The results of all ranks, in order.
    """
    result, problem = None, None
    try:
        result = work()
    except BaseException as error:  # sent to the others before it goes on: they are waiting
        problem = error
    results: list[Any] = [(result, None)]
    if ranks.size > 1:
        results = ranks.gather((result, None if problem is None else _in_words(problem)))
    if isinstance(problem, OSError):
        message = f"{failure}: {explain(problem)}"
        raise CheckpointWriteError(message, remedy=remedy_for(problem)) from problem
    if problem is not None:
        raise problem
    failed = [f"rank {rank}: {text}" for rank, (_, text) in enumerate(results) if text is not None]
    if failed:
        raise CheckpointWriteError(f"{failure}: " + "; ".join(failed))
    return [result for result, _ in results]


def _in_words(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OSError):
        return explain(error)
    if isinstance(error, TracksideError):
        return error.message
    return f"{type(error).__name__}: {error}"
