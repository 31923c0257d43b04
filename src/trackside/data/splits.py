"""Data that is split over the ranks before it comes here is taken as it is.

Trackside shares data out itself, so every rank is to be given the same. Where a sampler knows its
rank, subsets hold other samples on each, or an iterable gives other batches, every rank passes over
its own: shared out once more, half of the data would never be seen.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, TypeVar

from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from trackside.data.fingerprints import digest
from trackside.data.loaded import LoadedBatch, Origin
from trackside.data.loaders import length_of, samples_of
from trackside.data.recognition import RankData, differs, has_indices, is_split

if TYPE_CHECKING:
    from trackside.distributed.world import World

logger = logging.getLogger("trackside")
T = TypeVar("T")


def _is_strided(loader: Any, ranks: int) -> bool:
    sampler = getattr(loader, "sampler", None)
    return type(sampler) is DistributedSampler and sampler.num_replicas == ranks


def without_padding(loader: T) -> T:
    """A loader over whole data, where the loader splits it by torch's `DistributedSampler`.

    That sampler gives some samples twice where numbers don't divide, and its batches in the order
    of ranks. An evaluation takes the data itself, in its order, and shares it out exactly.
    """
    if not isinstance(loader, DataLoader) or type(loader.sampler) is not DistributedSampler:
        return loader
    if type(loader.batch_sampler) is not BatchSampler or loader.batch_sampler.sampler is not (
        loader.sampler
    ):
        return loader
    twin = copy.copy(loader)
    sampler = SequentialSampler(loader.dataset)  # type: ignore[arg-type]
    vars(twin)["sampler"] = sampler
    vars(twin)["batch_sampler"] = BatchSampler(
        sampler, loader.batch_sampler.batch_size, loader.batch_sampler.drop_last
    )
    return twin


class Split:
    """How a data set lies on the ranks: the same on each, or each has its own part.

    Making it is a collective.

    Args:
        name: Name of the data.
        data: What the user gave.
        loader: The batches of it.
        world: Several ranks; None for one process.
        training: Whether it is trained on.
    """

    def __init__(
        self, name: str, data: object, loader: Iterable[Any], world: World | None, *, training: bool
    ) -> None:
        self._name = name
        self._world = world
        self._training = training
        self.loader = loader
        """The batches; of whole data, where an evaluation was given a part without need."""
        self.is_split = False
        """Whether each rank passes over what it was given."""
        self.is_declared = isinstance(data, RankData)
        """Whether the user said so."""
        self.is_strided = _is_strided(loader, 1 if world is None else world.size)
        """Whether rank r of R takes the samples r, r + R, ... of an order that all draw alike."""
        self._is_open = False
        """Whether the first batches of a pass have yet to show it."""
        if world is not None:
            self.loader = loader = loader if training else without_padding(loader)
            self.is_split = is_split(name, data, loader, world)
            by_indices = isinstance(loader, DataLoader) and has_indices(loader)
            self._is_open = not (self.is_split or training or by_indices)
        self.batches = length_of(loader)
        self.samples = samples_of(loader, self.batches)
        self.most_batches = self.batches
        """Batches of the rank that has the most in a pass; None where nobody knows."""
        if self.is_split and world is not None:
            self._add_up(world)

    def _add_up(self, world: World) -> None:
        is_known = has_indices(self.loader) or isinstance(self.loader, Sequence)
        batches, samples = zip(
            *world.gather((self.batches if is_known else None, self.samples)), strict=True
        )
        self.samples = None if None in samples else sum(samples)
        self.most_batches = None if None in batches else max(batches)
        if not self._training:
            self.batches = None if None in batches else sum(batches)

    def by_first_batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of a pass that begins; of data without a sampler, the first ones show it.

        A collective, until it is known.

        Raises:
            DataError: Some ranks get the same first batch, and some another.
        """
        if not self._is_open or self._world is None:
            return batches
        first = list(islice(batches, 1))
        said = self._world.gather(digest(first[0]) if first else None)
        if len(set(said)) not in (1, len(said)):
            raise differs(self._name, "begins with the same batch on some ranks only", said)
        self._is_open = False
        if len(set(said)) > 1:
            self.is_split = True
            self.batches = self.samples = self.most_batches = None
            logger.info(
                "the data named %r gives other batches on each rank: it is split already, and "
                "each rank passes over its own",
                self._name,
            )
        return chain(first, batches)

    def rounds(self, batches: Iterator[LoadedBatch], limit: int | None) -> Iterator[LoadedBatch]:
        """The batches of a pass of an evaluation, and fillers until every rank is done with its.

        Of data that every rank has whole, and in training, they are as they are.

        Args:
            batches: This rank's.
            limit: Batches of all ranks that count, at most; None: all.
        """
        if self._training or not self.is_split or self._world is None:
            return batches
        world, rounds = self._world, self.rounds_of_pass(limit)
        counted = _filled(batches, rounds, world)
        return (
            each
            if limit is None or number * world.size + world.rank < limit
            else LoadedBatch(each.data, each.origin._replace(counts=False))
            for number, each in enumerate(counted)
        )

    def rounds_of_pass(self, limit: int | None) -> int | None:
        """Batches of the rank that has the most in a pass; None where nobody knows."""
        assert self._world is not None  # in one process nothing is split
        if limit is None or self.most_batches is None:
            return self.most_batches
        return min(self.most_batches, math.ceil(limit / self._world.size))


def _filled(
    batches: Iterator[LoadedBatch], rounds: int | None, world: World
) -> Iterator[LoadedBatch]:
    newest: Any = None
    for number in count() if rounds is None else range(rounds):
        mine = list(islice(batches, 1))
        if rounds is None and world.all_reduce(len(mine), "max") == 0:
            return
        if mine:
            newest = mine[0].data
            yield mine[0]
        else:
            yield LoadedBatch(newest, Origin(number, counts=False))
