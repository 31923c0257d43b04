"""Kinds of data by kinds of samplers by numbers of ranks: every sample of an epoch exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)
from torch.utils.data.distributed import DistributedSampler

from tests.simulated_ranks import SimulatedRanks
from trackside import DataError, World
from trackside.data.recognition import RankData
from trackside.data.shares import ending_together
from trackside.data.source import DataSource

NUMBERS = torch.arange(26)
SIZE = 4
DATA = TensorDataset(NUMBERS)


class Plain(Dataset[Any]):
    """A data set that nothing is known of; it may hold some samples only."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[torch.Tensor]:
        return (torch.tensor(self.numbers[index]),)


class Stream(IterableDataset[Any]):
    """The usual recipe: its own part for each rank."""

    def __init__(self, first: int = 0, step: int = 1) -> None:
        self.numbers = range(first, len(NUMBERS), step)

    def __iter__(self) -> Iterator[Any]:
        return iter([(NUMBERS[i],) for i in self.numbers])


class OwnRank(BatchSampler):
    """A batch sampler that takes its rank's batches, as those of other packages do."""

    def __init__(self, rank: int, world_size: int) -> None:
        super().__init__(SequentialSampler(range(24)), SIZE, False)
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        return (b for n, b in enumerate(super().__iter__()) if n % self.world_size == self.rank)

    def __len__(self) -> int:
        return len(range(self.rank, 24 // SIZE, self.world_size))


class NumPyOrder:
    """A batch sampler with a NumPy generator of its own."""

    def __init__(self, seed: int | None) -> None:
        self.generator = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.generator.permutation(24).reshape(-1, SIZE).tolist())

    def __len__(self) -> int:
        return 6


class ByRank(Dataset[Any]):
    """Whole data, whose copies lie at another path on each rank."""

    def __init__(self, rank: int) -> None:
        self.paths = [f"/disk{rank}/{n}" for n in range(len(NUMBERS))]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor]:
        return (torch.tensor(int(self.paths[index].rpartition("/")[2])),)


Make = Callable[[World], Any]
TAKEN: dict[str, Make] = {
    "a data set": lambda w: DATA,
    "an own data set": lambda w: Plain(list(range(26))),
    "copies at other paths": lambda w: ByRank(w.rank),
    "a loader": lambda w: DataLoader(DATA, SIZE),
    "a shuffling loader": lambda w: DataLoader(DATA, SIZE, shuffle=True),
    "a seeded loader": lambda w: DataLoader(DATA, SIZE, True, generator=torch.Generator()),
    "a sampler of indices": lambda w: DataLoader(
        DATA, SIZE, sampler=SubsetRandomSampler(range(26))
    ),
    "a seeded split": lambda w: random_split(DATA, [26, 0], torch.Generator().manual_seed(w.size))[
        0
    ],
    "DistributedSampler": lambda w: DataLoader(
        DATA, SIZE, sampler=DistributedSampler(DATA, w.size, w.rank, shuffle=False, drop_last=False)
    ),
    "DistributedSampler, shuffled": lambda w: DataLoader(
        Plain(list(range(26))), SIZE, sampler=DistributedSampler(DATA, w.size, w.rank)
    ),
    "DistributedSampler of one": lambda w: DataLoader(
        DATA, SIZE, sampler=DistributedSampler(DATA, 1, 0, shuffle=False)
    ),
    "a batch sampler that knows its rank": lambda w: DataLoader(
        DATA, batch_sampler=OwnRank(w.rank, w.size)
    ),
    "a seeded order of its own": lambda w: DataLoader(DATA, batch_sampler=NumPyOrder(0)),
    "subsets of each rank": lambda w: Subset(DATA, range(w.rank, 24 if w.size > 1 else 26, w.size)),
    "an own data set, declared": lambda w: RankData(Plain(list(range(w.rank, 24, w.size)))),
    "a stream of each rank": lambda w: DataLoader(Stream(w.rank, w.size), SIZE),
    "a stream of each rank, declared": lambda w: RankData(DataLoader(Stream(w.rank, w.size), SIZE)),
}
TAKES_24 = (
    "a seeded order of its own",
    "an own data set, declared",
    "a batch sampler that knows its rank",
)
"""Kinds that hold 24 samples, on any number of ranks."""
REFUSED: dict[str, tuple[Make, str]] = {
    "an own data set of each rank": (lambda w: Plain(list(range(w.rank, 24, w.size))), "RankData"),
    "data of another length": (lambda w: Plain(list(range(20 + w.rank))), "RankData"),
    "random arrays": (lambda w: TensorDataset(torch.randn(8) + w.rank), "RankData"),
    "a split without a seed": (
        lambda w: random_split(DATA, [20, 6], torch.Generator().manual_seed(w.rank))[0],
        "random_split",
    ),
    "an order of each rank": (
        lambda w: DataLoader(DATA, batch_sampler=NumPyOrder(w.rank)),
        "default_rng",
    ),
    "indices of each rank": (
        lambda w: DataLoader(DATA, SIZE, sampler=SubsetRandomSampler(range(w.rank, 26))),
        "default_rng",
    ),
    "another number of ranks": (
        lambda w: DataLoader(DATA, SIZE, sampler=DistributedSampler(DATA, 7, w.rank)),
        "WORLD_SIZE",
    ),
    "declared on one rank": (lambda w: RankData(DATA) if w.rank else DATA, "RankData"),
}


def pass_over(world: World, data: Any, *, training: bool) -> list[int]:
    """The samples that a rank gets in a pass, fillers left out."""
    source = DataSource("data", data, SIZE, shuffle=training, world=world, training=training)
    batches = source.begin(0)
    if training and world.size > 1:
        run: Any = type("Run", (), {"world": world})()
        batches = ending_together(run, source, batches)
    taken: list[int] = []
    for batch, origin in batches:
        if origin.counts and (origin.share is None or origin.share.samples):
            taken += batch[0].tolist()
    return taken


def over_ranks(make: Make, ranks: int, *, training: bool) -> list[int]:
    program = lambda world: pass_over(world, make(world), training=training)  # noqa: E731
    return [n for part in SimulatedRanks(ranks).run(program) for n in part]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("kind", TAKEN)
def test_an_evaluation_takes_every_sample_once(kind: str, ranks: int) -> None:
    taken = over_ranks(TAKEN[kind], ranks, training=False)

    whole = 24 if kind in TAKES_24 or (kind == "subsets of each rank" and ranks > 1) else 26
    assert Counter(taken) == Counter(range(whole))


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("kind", TAKEN)
def test_an_epoch_takes_every_sample_once_or_as_the_sampler_draws(kind: str, ranks: int) -> None:
    taken = Counter(over_ranks(TAKEN[kind], ranks, training=True))

    if kind.startswith("DistributedSampler") and kind != "DistributedSampler of one":
        padded = -(-26 // ranks) * ranks
        assert set(taken) == set(range(26))
        assert taken.total() == padded, "the sampler fills up the last round"
    elif "stream" in kind:
        assert taken.most_common(1)[0][1] == 1
        assert taken.total() >= 26 - SIZE * ranks, "the epoch ends with the first rank's"
    else:
        whole = 24 if kind in TAKES_24 or (kind == "subsets of each rank" and ranks > 1) else 26
        assert taken == Counter(range(whole))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("kind", REFUSED)
def test_data_that_differs_between_ranks_is_refused_with_the_way_out(
    kind: str, ranks: int, training: bool
) -> None:
    make, way_out = REFUSED[kind]

    if kind == "another number of ranks" and not training:
        assert Counter(over_ranks(make, ranks, training=False)) == Counter(range(26))
        return
    with pytest.raises(DataError, match=way_out):
        over_ranks(make, ranks, training=training)


@pytest.mark.parametrize("lengths", [[5, 3], [0, 2], [4, 4, 1]])
def test_iterables_of_any_lengths_end_together_with_the_shortest(lengths: list[int]) -> None:
    streams = [[(NUMBERS[i : i + 2],) for i in range(length)] for length in lengths]
    make = lambda w: RankData(iter(streams[w.rank]))  # noqa: E731

    taken = over_ranks(make, len(lengths), training=True)

    assert len(taken) == 2 * min(lengths) * len(lengths)


def test_training_data_of_other_lengths_is_refused() -> None:
    with pytest.raises(DataError, match="differs in length"):
        over_ranks(lambda w: RankData(Plain(list(range(8 + 8 * w.rank)))), 2, training=True)


def test_it_is_said_that_every_rank_trains_on_the_same_iterable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over_ranks(lambda w: DataLoader(Stream(), SIZE), 2, training=True)

    assert "each sample is trained on 2 times in an epoch" in caplog.text


def test_nothing_is_said_of_an_iterable_that_each_rank_has_its_part_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over_ranks(lambda w: DataLoader(Stream(w.rank, w.size), SIZE), 2, training=True)

    assert not caplog.records


@pytest.mark.parametrize("sizes", [[8, 5], [3, 3, 1]])
@pytest.mark.parametrize("kind", [list, iter])
def test_each_batch_tells_the_samples_of_all_ranks(sizes: list[int], kind: Any) -> None:
    def program(world: World) -> list[int | None]:
        run: Any = type("Run", (), {"world": world})()
        data = kind([torch.rand(sizes[world.rank], 2) for _ in range(3)])
        source = DataSource("data", data, SIZE, world=world, training=True)
        return [b.origin.total for b in ending_together(run, source, source.begin(0))]

    assert SimulatedRanks(len(sizes)).run(program) == [[sum(sizes)] * 3] * len(sizes)


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "kind", ["an own data set, declared", "a stream of each rank", "a data set"]
)
def test_a_limit_counts_the_batches_of_all_ranks(kind: str, limit: int) -> None:
    def program(world: World) -> int:
        source = DataSource("data", TAKEN[kind](world), SIZE, world=world)
        source.limit(limit)
        return sum(batch.origin.counts for batch in source.begin(0))

    assert sum(SimulatedRanks(2).run(program)) == limit
