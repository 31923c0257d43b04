"""Samples of each rank. Pure: indices in, indices out.

Training: all ranks together take exactly the batches that one process would take, each rank an
equal part of every batch. Evaluation: all ranks together take exactly the batches that one process
would take, rank r every `world_size`-th whole batch, so that a batch yields bitwise the same.
Every sample counts once, also where numbers don't divide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from trackside.distributed.world import World

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Share(Generic[T]):
    """The part of one global batch that a rank takes."""

    items: Sequence[T]
    """Indices to load; never empty, because every rank takes part in every step."""
    samples: int
    """How many of `items` count: all, or none for a filler."""
    total: int
    """Samples of the global batch."""
    ranks: int
    whole: Sequence[T] = ()
    """The global batch itself, which every rank has drawn."""

    @property
    def factor(self) -> float:
        """Factor of this rank's mean loss; see `loss_factor`."""
        return loss_factor(self.samples, self.total, self.ranks)


def loss_factor(weight: float, total: float, ranks: int) -> float:
    """The factor that makes the average of gradients over ranks the gradient of the global mean.

    DDP and FSDP average over ranks, whatever each rank's loss was a mean of. A rank whose mean
    loss has `weight` of `total` (samples, or tokens) has to scale it by this first.

    Example:
        >>> loss_factor(2, 3, ranks=2) * 1.0 / 2 + loss_factor(1, 3, ranks=2) * 4.0 / 2
        2.0
    """
    return weight * ranks / total


def training_share(batch: Sequence[T], rank: int, ranks: int) -> Share[T]:
    """The part of a global batch that `rank` trains on: contiguous, equal within one sample.

    A batch with fewer samples than ranks leaves some without: they take the first sample as a
    filler that counts nothing, so that they take part in the step.
    """
    mine = batch[len(batch) * rank // ranks : len(batch) * (rank + 1) // ranks]
    return Share(mine or batch[:1], len(mine), len(batch), ranks, batch)


@runtime_checkable
class Repeatable(Protocol[T_co]):
    """Batches of which one pass may be under way beside another."""

    def second_pass(self) -> Iterable[T_co]:
        """The same batches, at the beginning of a pass that knows nothing of the first."""


def fresh(batches: Iterable[T]) -> Iterable[T]:
    """The same batches, without what a pass has noted about itself."""
    return batches.second_pass() if isinstance(batches, Repeatable) else batches


class _RankPart:
    """A rank's part of a sampler's batches; it has the sampler's own attributes, too."""

    batches: Any

    def __getattr__(self, name: str) -> Any:
        # Only what isn't found here: the `set_epoch`, the `generator` of the original.
        if name.startswith("__") or name == "batches":
            raise AttributeError(name)
        return getattr(self.batches, name)


class RankBatches(_RankPart, Generic[T]):
    """A rank's share of each batch of a batch sampler.

    All ranks must draw the same batches: same seed, same epoch.

    Args:
        batches: The global batches of indices.
        rank: This rank.
        ranks: Their number.
    """

    def __init__(self, batches: Iterable[Sequence[T]], rank: int, ranks: int) -> None:
        self.batches = batches
        self._rank = rank
        self._ranks = ranks

    def second_pass(self) -> RankBatches[T]:
        """Another one over the same batches, at the beginning of a pass."""
        return RankBatches(fresh(self.batches), self._rank, self._ranks)

    def __iter__(self) -> Iterator[Share[T]]:
        return (training_share(batch, self._rank, self._ranks) for batch in self.batches)

    def __len__(self) -> int:
        if not isinstance(self.batches, Sized):
            raise TypeError("the sampler doesn't say its length")
        return len(self.batches)


class RankRounds(_RankPart, Generic[T]):
    """A rank's batches of an evaluation, equally many on each rank.

    Args:
        batches: The batches of one process's pass.
        rank: This rank.
        ranks: Their number.
        limit: Batches of the one process's pass at most; None takes all.
    """

    def __init__(
        self, batches: Iterable[T], rank: int, ranks: int, limit: int | None = None
    ) -> None:
        self.batches = batches
        self._rank = rank
        self._ranks = ranks
        self.limit = limit

    def second_pass(self) -> RankRounds[T]:
        """Another one over the same batches, at the beginning of a pass."""
        return RankRounds(fresh(self.batches), self._rank, self._ranks, self.limit)

    def __iter__(self) -> Iterator[Round[T]]:
        batches = islice(self.batches, self.limit)
        return evaluation_share(batches, self._rank, self._ranks, fill=True)

    def __len__(self) -> int:
        if not isinstance(self.batches, Sized):
            raise TypeError("the sampler doesn't say its length")
        batches = len(self.batches)
        limited = batches if self.limit is None else min(batches, self.limit)
        return math.ceil(limited / self._ranks)


def in_turns(world: World, limit: int | None) -> Callable[[Iterable[T]], RankRounds[T]]:
    """The function that gives a rank of `world` its whole batches, of `limit` at most."""
    return partial(RankRounds, rank=world.rank, ranks=world.size, limit=limit)


@dataclass(frozen=True, slots=True)
class Round(Generic[T]):
    """One call of the model in an evaluation."""

    batch: T
    counts: bool
    """Whether its results count; not for a filler."""
    turn: Sequence[T] = ()
    """The batches of all ranks in this round, which every rank has drawn."""


def evaluation_share(
    batches: Iterable[T], rank: int, ranks: int, *, fill: bool = False
) -> Iterator[Round[T]]:
    """The batches of one process's pass that `rank` evaluates: number `rank`, `rank + ranks`, ...

    Args:
        batches: All batches of the pass (of indices, so that skipping loads nothing).
        rank: This rank.
        ranks: Their number.
        fill: Give every rank equally many rounds, the last one a filler where batches run out:
            for models whose forward is a collective.
    """
    stream = iter(batches)
    while turn := list(islice(stream, ranks)):
        if rank < len(turn):
            yield Round(turn[rank], counts=True, turn=turn)
        elif fill:
            yield Round(turn[0], counts=False, turn=turn)
