"""Kinds of samplers by kinds of data by numbers of ranks: all ranks take what one process draws."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from tests.simulated_ranks import SimulatedRanks
from trackside import World
from trackside.data.source import DataSource
from trackside.machine import randomness


class Plain(Dataset[Any]):
    """A data set that nothing is known of."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor]:
        return (torch.tensor(range(self.samples)[index]),)


class ByEpoch:
    """A batch sampler that draws by NumPy from the number of the epoch, which it is told."""

    def __init__(self, samples: int, size: int) -> None:
        self.samples, self.size, self.epoch = samples, size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng(self.epoch).permutation(self.samples).tolist()
        return (order[start : start + self.size] for start in range(0, self.samples, self.size))

    def __len__(self) -> int:
        return math.ceil(self.samples / self.size)


class LongestFirst(BatchSampler):
    """Batches of any size: as many samples as fit, the first ones alone."""

    def __init__(self, samples: int, size: int) -> None:
        super().__init__(SequentialSampler(range(samples)), size, False)
        self.samples = samples

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for number in range(len(self)):
            end = min(start + number + 1, self.samples)
            yield list(range(start, end))
            start = end

    def __len__(self) -> int:
        return next(n for n in range(self.samples + 1) if n * (n + 1) // 2 >= self.samples)


DATA: dict[str, Callable[[int], Any]] = {
    "tensors": lambda n: TensorDataset(torch.arange(n)),
    "a data set of one's own": Plain,
    "a subset": lambda n: Subset(TensorDataset(torch.arange(-3, n)), range(3, n + 3)),
    "two data sets": lambda n: ConcatDataset(
        [TensorDataset(torch.arange(n // 2)), TensorDataset(torch.arange(n // 2, n))]
        if n > 1
        else [TensorDataset(torch.arange(n))]
    ),
    "a list": lambda n: [(torch.tensor(number),) for number in range(n)],
}
SAMPLERS: dict[str, Callable[[Any, int, bool], DataLoader[Any]]] = {
    "in order": lambda data, size, drop: DataLoader(data, size, drop_last=drop),
    "shuffled": lambda data, size, drop: DataLoader(data, size, True, drop_last=drop),
    "shuffled by an own generator": lambda data, size, drop: DataLoader(
        data, size, True, drop_last=drop, generator=torch.Generator().manual_seed(3)
    ),
    "with replacement": lambda data, size, drop: DataLoader(
        data, size, sampler=RandomSampler(data, True, 2 * len(data)), drop_last=drop
    ),
    "weighted": lambda data, size, drop: DataLoader(
        data, size, sampler=WeightedRandomSampler(range(1, len(data) + 1), len(data))
    ),
    "a part of the indices": lambda data, size, drop: DataLoader(
        data, size, sampler=SubsetRandomSampler(range(0, len(data), 2)), drop_last=drop
    ),
    "batches by the epoch": lambda data, size, drop: DataLoader(
        data, batch_sampler=ByEpoch(len(data), size)
    ),
    "batches of any size": lambda data, size, drop: DataLoader(
        data, batch_sampler=LongestFirst(len(data), size)
    ),
}
DRAWS_EACH_ONCE = {"in order", "shuffled", "batches by the epoch", "batches of any size"}


def taken(ranks: int, make: Callable[[], Any], epoch: int, training: bool) -> list[list[int]]:
    """What each step of a pass takes in training, on all ranks together; else the whole pass."""

    def program(world: World) -> list[list[int]]:
        source = DataSource("data", make(), 1, world=world, training=training)
        steps: list[list[int]] = []
        for batch, origin in source.begin(epoch):
            counts = origin.counts and (origin.share is None or origin.share.samples)
            steps.append(batch[0].tolist() if counts else [])
        return steps

    randomness.seed_everything(5)
    of_ranks = SimulatedRanks(ranks).run(program)
    if training:
        return [[n for part in step for n in part] for step in zip(*of_ranks, strict=True)]
    return [[number for steps in of_ranks for step in steps for number in step]]


@settings(max_examples=120, deadline=None)
@given(
    data=st.sampled_from(sorted(DATA)),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    ranks=st.sampled_from([1, 2, 3]),
    samples=st.integers(1, 17),
    size=st.integers(1, 6),
    drop_last=st.booleans(),
    epoch=st.integers(0, 2),
    training=st.booleans(),
)
def test_ranks_together_take_what_one_process_draws(
    data: str,
    sampler: str,
    ranks: int,
    samples: int,
    size: int,
    drop_last: bool,
    epoch: int,
    training: bool,
) -> None:
    def make() -> Any:
        return SAMPLERS[sampler](DATA[data](samples), size, drop_last and 2 * size <= samples)

    found = taken(ranks, make, epoch, training)

    by_torch = drawn_by_torch(make, epoch)
    if training:
        assert found == by_torch, "step by step"
    else:
        assert Counter(found[0]) == Counter(number for step in by_torch for number in step)
    if sampler in DRAWS_EACH_ONCE and not drop_last:
        assert Counter(n for step in found for n in step) == Counter(range(samples))


def drawn_by_torch(make: Callable[[], DataLoader[Any]], epoch: int) -> list[list[int]]:
    """The batches of torch's own loader, in one process."""
    randomness.seed_everything(5)
    loader = make()
    if isinstance(loader.batch_sampler, ByEpoch):
        loader.batch_sampler.set_epoch(epoch)
    return [batch[0].tolist() for batch in loader]
