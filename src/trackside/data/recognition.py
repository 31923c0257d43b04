"""Whether every rank was given the same data: recognised before the first batch, or refused."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from trackside.data.batches import describe
from trackside.data.fingerprints import digest, fingerprint, indices_of
from trackside.errors import DataError
from trackside.machine import randomness

if TYPE_CHECKING:
    from trackside.distributed.world import World

logger = logging.getLogger("trackside")

_RANK_OF_RANKS = (
    ("rank", "num_replicas"),
    ("rank", "world_size"),
    ("rank", "num_ranks"),
    ("process_index", "num_processes"),
    ("dp_rank", "dp_size"),
    ("data_parallel_rank", "data_parallel_size"),
)
"""Attributes by which samplers that split data know their rank, and the number of ranks."""

_WAYS_OUT = (
    "give every rank the same data, which Trackside shares out; where each has its own part "
    "on purpose, say so: `RankData(data)`"
)


@dataclass(frozen=True)
class RankData:
    """Data of which this rank has its own part, and every other rank another one.

    Data that every rank has whole needs no such word: Trackside shares it out. This is taken as it
    is. In training, each step takes a batch of every rank, and an epoch ends with the rank that
    ends first; in an evaluation, each rank passes over all that it has. Predictions come back rank
    by rank. In one process it is the data itself.

    Args:
        data: A `Dataset`, a `DataLoader`, arrays by name, or an iterable of batches.

    Example:
        >>> RankData([1, 2])
        RankData(data=[1, 2])
    """

    data: object


def plain(data: object) -> object:
    """Data as a user gave it, without the word that it is of this rank alone."""
    return data.data if isinstance(data, RankData) else data


def is_split(name: str, data: object, loader: Iterable[Any], world: World) -> bool:
    """Whether each rank was given its own part of the data; a collective.

    Of an iterable, only its batches show it: see `Split.by_first_batches`.

    Raises:
        DataError: Ranks were given different data, and nothing says that it is a split.
    """
    facts = _facts(data, loader)
    everywhere = world.gather(facts)
    declared = [each["declared"] for each in everywhere]
    if any(declared):
        if not all(declared):
            raise differs(name, "is `RankData` on some ranks only", declared)
        return True
    if any(each["place"] is not None for each in everywhere):
        return _by_sampler(name, [each["place"] for each in everywhere])
    if not facts["map_style"]:
        return False
    if len({each["length"] for each in everywhere}) > 1:
        return _by_indices(name, loader, world, everywhere) or _refuse_lengths(name, everywhere)
    if len({each["indices"] for each in everywhere}) > 1:
        if _by_indices(name, loader, world, everywhere):
            return True
        raise _differs_in_samples(name)
    _check_contents(name, loader, world, everywhere)
    return False


def _facts(data: object, loader: Iterable[Any]) -> dict[str, Any]:
    """A few numbers about the data that this rank was given."""
    dataset = getattr(loader, "dataset", None)
    is_map_style = has_indices(loader) and isinstance(dataset, Sized)
    taken = indices_of(dataset)
    facts = {
        "declared": isinstance(data, RankData),
        "place": _rank_of_ranks(loader),
        "map_style": is_map_style,
        "length": len(dataset) if isinstance(dataset, Sized) and is_map_style else None,
        "indices": None if taken is None else digest(taken[1]),
    }
    if is_map_style:
        base = dataset if taken is None else taken[0]
        facts["contents"], facts["settings"] = fingerprint(base)
        facts["chosen"] = _choice_of(loader)
    return facts


def has_indices(loader: object) -> bool:
    """Whether a loader takes samples by their numbers in a data set."""
    return isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset)


def _choice_of(loader: Any) -> int | None:
    """A number for the indices that a sampler was given to draw from, as `SubsetRandomSampler`."""
    indices = getattr(loader.sampler, "indices", None)
    return None if indices is None else digest(np.asarray(indices))


def _rank_of_ranks(loader: Any) -> tuple[int, int] | None:
    """Number of the rank for which samplers take samples, of how many; None: they know none."""
    sampler = getattr(loader, "batch_sampler", None)
    parts = [loader, sampler, getattr(loader, "sampler", None), getattr(sampler, "sampler", None)]
    for part in parts:
        for rank, ranks in _RANK_OF_RANKS:
            place = (getattr(part, rank, None), getattr(part, ranks, None))
            if all(isinstance(n, int) and not isinstance(n, bool) for n in place):
                return place  # type: ignore[return-value]
    return None


def _by_sampler(name: str, places: Sequence[tuple[int, int] | None]) -> bool:
    ranks = len(places)
    if all(place is not None and tuple(place) == (r, ranks) for r, place in enumerate(places)):
        logger.info(
            "the data named %r is split over ranks by its sampler, and taken as it is", name
        )
        return True
    if all(place is not None and place[1] == 1 for place in places):
        return False
    raise DataError(
        f"the sampler of the data named {name!r} takes samples for other ranks than these",
        expected=", ".join(f"rank {r} of {ranks}" for r in range(ranks)),
        received=", ".join("none" if p is None else f"rank {p[0]} of {p[1]}" for p in places),
        remedy="leave the sampler out: Trackside shares the data out by itself; or give it "
        "the rank and the number of ranks that the launcher set (RANK, WORLD_SIZE)",
    )


def _by_indices(name: str, loader: Any, world: World, everywhere: Sequence[dict[str, Any]]) -> bool:
    """Whether subsets of one data set share no sample: then each rank has its own part."""
    if any(each["indices"] is None for each in everywhere):
        return False
    if len({each["contents"] for each in everywhere}) > 1:
        return False
    mine = indices_of(loader.dataset)
    assert mine is not None  # it has a digest
    parts = world.gather(torch.as_tensor(mine[1]))
    if any(np.intersect1d(a.numpy(), b.numpy()).size for a, b in combinations(parts, 2)):
        return False
    logger.info(
        "the data named %r is split over ranks, whose subsets share no sample, and taken as it is",
        name,
    )
    return True


def _refuse_lengths(name: str, everywhere: Sequence[dict[str, Any]]) -> bool:
    raise differs(name, "differs in length between ranks", [f["length"] for f in everywhere])


def _differs_in_samples(name: str) -> DataError:
    return DataError(
        f"the data named {name!r} takes other samples of its data set on each rank: some would be "
        "taken twice, and some that are trained on would be evaluated",
        expected="the same samples on every rank",
        received="subsets that overlap: such as `random_split` without a seed",
        remedy="seed it: `random_split(data, lengths, torch.Generator().manual_seed(0))`; parts of "
        "each rank's own must not share samples",
    )


def differs(name: str, how: str, of_ranks: Iterable[object]) -> DataError:
    """The error for data that isn't the same on every rank, with the ways out."""
    return DataError(
        f"the data named {name!r} {how}",
        expected="the same data on every rank",
        received=", ".join(f"{each} on rank {rank}" for rank, each in enumerate(of_ranks)),
        remedy=_WAYS_OUT,
    )


def _check_contents(
    name: str, loader: Any, world: World, everywhere: Sequence[dict[str, Any]]
) -> None:
    """Refuse data sets that hold other samples on each rank.

    Where attributes differ, samples decide: two are loaded twice on each rank, with the same random
    numbers. Paths of local copies may differ, and samples are the same.
    """
    if len({each["chosen"] for each in everywhere}) > 1:
        raise _draws_differ(name, "indices that its sampler draws from differ between ranks")
    data_differs = len({each["contents"] for each in everywhere}) > 1
    if not data_differs and len({each["settings"] for each in everywhere}) == 1:
        return
    found = world.gather(_samples(loader.dataset))
    steady = all(first == second for first, second in found)
    if steady and all(first == found[0][0] for first, _ in found):
        return
    if steady or data_differs:
        raise differs(
            name,
            "is another data set on each rank: samples of the same number differ",
            [f"{describe(loader.dataset)} ({len(loader.dataset)} samples)"] * world.size,
        )


def _samples(dataset: Any) -> tuple[list[int | None], list[int | None]]:
    """Digests of the first and the last sample, loaded twice with the same random numbers."""
    with randomness.preserved():
        return _ends_of(dataset), _ends_of(dataset)


def _ends_of(dataset: Any) -> list[int | None]:
    found: list[int | None] = []
    for index in (0, len(dataset) - 1):
        randomness.seed_everything(index)
        try:
            found.append(digest(dataset[index]))
        except (LookupError, TypeError):  # its samples have other keys than numbers
            found.append(None)
    return found


def check_draws(name: str, first: object, world: World) -> None:
    """Refuse samplers that draw another first batch on another rank; a collective.

    Args:
        name: Name of the data.
        first: The first batch of indices of the pass, all ranks' parts taken together; None
            where there is none.
        world: The ranks.
    """
    drawn = _as_list(first)
    if len(set(world.gather(digest(drawn)))) == 1:
        return
    of_ranks = world.gather([str(index) for index in drawn])
    turns = enumerate(zip_longest(*of_ranks, fillvalue="none"))
    differing: Iterator[tuple[int, Sequence[object]]]
    differing = ((n, turn) for n, turn in turns if len(set(turn)) > 1)
    place, indices = next(differing, (0, of_ranks))
    words = ", ".join(f"{index} on rank {rank}" for rank, index in enumerate(indices))
    raise _draws_differ(name, f"as sample {place + 1} of batch 1: {words}")


def _draws_differ(name: str, received: str) -> DataError:
    return DataError(
        f"the ranks draw different batches of the data named {name!r}: samples would be taken "
        "twice, and others never",
        expected="the same batches on every rank, of which each then takes its part",
        received=received,
        remedy="seed the sampler's own generator alike on every rank (`np.random.default_rng(0)`); "
        "where it splits the data over ranks itself, say so: `RankData(loader)`",
    )


def _as_list(drawn: object) -> list[object]:
    if drawn is None:
        return []
    if isinstance(drawn, (str, bytes)) or not isinstance(drawn, Iterable):
        return [drawn]
    return list(drawn)
