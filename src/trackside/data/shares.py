"""Training batches of each rank's own: passes end on all ranks at once, samples of all are counted.

No rank waits for a batch that does not come. Data that is shared out by its sampler needs none of
this: every rank knows what the others take.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, IterableDataset

from trackside.data.counting import counted
from trackside.data.fingerprints import digest
from trackside.data.loaded import LoadedBatch, Origin
from trackside.data.source import DataSource
from trackside.data.tensors import TensorLoader
from trackside.errors import DataError
from trackside.run import Run

if TYPE_CHECKING:
    from trackside.distributed.world import World

logger = logging.getLogger("trackside")


def ending_together(
    run: Run, source: DataSource, batches: Iterator[LoadedBatch]
) -> Iterator[LoadedBatch]:
    """The training batches of a pass, which end on all ranks at once; a collective.

    Where each rank has its own iterable of unknown length, ranks agree before each batch, and the
    pass ends with the first that has none. The origin of each batch has the samples of all ranks,
    where they can be counted before its step.

    Raises:
        DataError: The ranks have data of different known lengths.
    """
    lengths = run.world.gather(source.batches if _knows_its_end(source) else None)
    if None not in lengths and len(set(lengths)) > 1:
        raise DataError(
            f"the data named {source.name!r} differs in length between ranks: they would wait for "
            "each other without end",
            expected="equally many batches on every rank",
            received=", ".join(f"{n} on rank {rank}" for rank, n in enumerate(lengths)),
            remedy="give every rank the same data, which Trackside shares out; or an iterable "
            "without a length: the epoch then ends with the first rank's",
        )
    if source.is_shared_out:
        return batches
    if not source.split.is_split:
        batches = _reported_if_same(source, batches, run.world)
    totals = _totals(source.loader, run.world)
    if totals is not None:
        return (_with_total(each, totals[each.origin.number]) for each in batches)
    return _in_step(batches, run.world)


def samples_of_all(world: World, origin: Origin, samples: int, said: object) -> int:
    """Samples of a training batch over all ranks; a collective where only its step can count.

    Args:
        world: The ranks.
        origin: Where the batch of this rank is from.
        samples: Those of this rank's batch.
        said: What the step returned as `samples`, or None; alike on all ranks.
    """
    if origin.share is not None:
        return origin.share.total
    if said is None and origin.total is not None:
        return origin.total
    return int(world.all_reduce(samples, "sum"))


def _in_step(batches: Iterator[LoadedBatch], world: World) -> Iterator[LoadedBatch]:
    """`batches` until they end on some rank; what the others have left is left out.

    For data of each rank's own, of which nobody knows how much it is: a rank that went on alone
    would wait for the others without end. Before each batch, all ranks wait for each other.
    """
    while True:
        following = list(islice(batches, 1))
        samples = [_samples(each) for each in following]
        unknown = sum(number is None for number in samples)
        here = [int(not following), unknown, sum(number or 0 for number in samples)]
        ended, unknown, total = world.all_reduce(torch.tensor(here), "sum").tolist()
        if ended:
            return
        yield _with_total(following[0], None if unknown else total)


def _samples(batch: LoadedBatch) -> int | None:
    return counted(batch.data) if batch.origin.samples is None else batch.origin.samples


def _with_total(batch: LoadedBatch, total: int | None) -> LoadedBatch:
    return LoadedBatch(batch.data, batch.origin._replace(total=total))


def _totals(loader: object, world: World) -> list[int | None] | None:
    """Samples of each batch over all ranks, where every rank has a list; a collective, once a pass.

    None: batches come one by one.
    """
    own = [counted(batch) for batch in loader] if isinstance(loader, (list, tuple)) else None
    of_ranks = world.gather(own)
    if None in of_ranks:
        return None
    turns = zip(*of_ranks, strict=True)
    return [None if None in turn else sum(turn) for turn in turns]


def _reported_if_same(
    source: DataSource, batches: Iterator[LoadedBatch], world: World
) -> Iterator[LoadedBatch]:
    """The same batches; where every rank gets the same first one, it is said, once.

    A generator: it begins with the first batch, in which all ranks take part.
    """
    if source.compared_batches:
        yield from batches
        return
    source.compared_batches = True
    first = list(islice(batches, 1))
    said = world.gather([digest(each.data) for each in first])
    if world.is_global_zero and said[0] and all(each == said[0] for each in said):
        logger.warning(
            "every rank gets the same first batch of the data named %r, which has no sampler that "
            "Trackside could share out: each sample is trained on %d times in an epoch. To fix: "
            "give a Dataset, which is shared out; or let the iterable give each rank its own part "
            "(`run.world.rank` of `run.world.size`; RANK of WORLD_SIZE)",
            source.name,
            world.size,
        )
    yield from chain(first, batches)


def _knows_its_end(source: DataSource) -> bool:
    """Whether a pass has exactly `source.batches` batches: the length of an iterable is a guess."""
    loader = source.loader
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return False
    return source.batches is not None and isinstance(loader, DataLoader | TensorLoader | Sequence)
