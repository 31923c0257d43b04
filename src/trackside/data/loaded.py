"""A batch and its origin, one value on the whole way from the loader to the step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count, repeat
from typing import Any, Literal, NamedTuple

from trackside.data.batches import Batch
from trackside.distributed.sharding import Round, Share

Remember = Literal["always", "when asked", "now", "not now"]
"""When the samples of the newest batches are noted: in every pass, from the next on; in passes from
the next on in which that is asked for; from this batch on; no more (but for `always`)."""


class Turn(tuple[Any, ...]):
    """Batches of all ranks in a round of an evaluation, each of which every rank has read."""

    __slots__ = ()


class Origin(NamedTuple):
    """The place that a batch comes from."""

    number: int
    """Batches of the pass before it on this rank; those that are left out don't count."""
    samples: int | None = None
    """Samples that a sampler put into it for this rank; None where only the batch can say."""
    share: Share[Any] | None = None
    """Its part of the global batch; None in one process, or where each rank has its own data."""
    counts: bool = True
    """Whether its results count; False for what fills up the last round of an evaluation."""
    drawn: Sequence[Any] = ()
    """Indices that the sampler drew for all ranks at this place, the same on each; a `Turn` where
    an iterable gave the batches; empty where they are this rank's alone."""
    total: int | None = None
    """Samples of all ranks' batches of this step, where each rank has its own data and they can be
    counted before the step."""

    @classmethod
    def of_round(cls, number: int, given: Round[Any]) -> Origin:
        """The origin of a batch of an iterable, of which every rank has read the whole round."""
        return cls(number, counts=given.counts, drawn=Turn(given.turn))


class LoadedBatch(NamedTuple):
    """A batch as it comes out of a `DataSource`."""

    data: Batch
    """Batch of the loader."""
    origin: Origin


def unwrap(given: Any, number: int) -> tuple[Any, Origin]:
    """The items to load, and their origin.

    Args:
        given: A batch of indices; on several ranks, a `Share` or a `Round` of it.
        number: Batches of the pass before it on this rank.
    """
    if isinstance(given, Share):
        return given.items, Origin(number, given.samples, given, drawn=given.whole)
    if isinstance(given, Round):
        return given.batch, Origin(number, _size(given.batch), None, given.counts, given.turn)
    return given, Origin(number, _size(given))


def with_origins(batches: Iterable[Batch], origins: deque[Origin]) -> Iterator[LoadedBatch]:
    """Each batch of a loader with the origin that its sampler noted for it.

    A loader with workers runs ahead of its batches: origins wait here, and nowhere else. One that
    gives more batches than its sampler asked for has some of unknown origin.

    Args:
        batches: Of a pass of the loader.
        origins: Filled by the sampler of that same pass, one for each batch, in order.
    """
    for number, data in enumerate(batches):
        yield LoadedBatch(data, origins.popleft() if origins else Origin(number))


def numbered(batches: Iterable[Batch], start: int = 0) -> Iterator[LoadedBatch]:
    """Batches of which nothing is known but their place in the pass.

    Args:
        batches: In order.
        start: Batches of the pass before the first.
    """
    # `partial(tuple.__new__, ...)` is made in C: no bytecode is spent on a batch.
    rest: Any = (repeat(None), repeat(None), repeat(True), repeat(()), repeat(None))
    origins = map(partial(tuple.__new__, Origin), zip(count(start), *rest, strict=False))
    pairs: Any = zip(batches, origins, strict=False)
    loaded: Iterator[LoadedBatch] = map(partial(tuple.__new__, LoadedBatch), pairs)
    return loaded


def _size(items: Any) -> int | None:
    """Samples that are asked for; None where these are no indices of a batch."""
    return len(items) if isinstance(items, (list, tuple, range)) else None
