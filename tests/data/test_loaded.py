"""A batch, its share of the ranks' batch and its place come as one value, on every way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from trackside.data.loaded import LoadedBatch, Origin, numbered, with_origins
from trackside.data.prefetch import prefetcher_for
from trackside.data.source import DataSource
from trackside.distributed.sharding import training_share
from trackside.progress import TrainingBatch
from trackside.testing.simulated_world import SimulatedWorld

BATCHES = [range(4), range(4, 8), range(8, 11)]


class Numbers(Dataset[int]):
    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(11))


class Batches:
    def __iter__(self) -> Iterator[str]:
        return iter("abcd")


DATA: dict[str, Callable[[], Any]] = {
    "tensors": lambda: DataLoader(TensorDataset(torch.arange(11)), 4),
    "samples": lambda: DataLoader(Numbers(), 4),
    "workers": lambda: DataLoader(Numbers(), 4, num_workers=1, prefetch_factor=4),
}


def numbers(batch: LoadedBatch) -> list[int]:
    data = batch.data[0] if isinstance(batch.data, list) else batch.data
    found: list[int] = data.tolist()
    return found


def on_rank(rank: int, data: Any) -> DataSource:
    return DataSource("train", data, 4, world=SimulatedWorld(rank), training=True)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("begin", ["at the start", "in the middle", "at the very end"])
@pytest.mark.parametrize("ahead", [0, 2])
def test_on_several_ranks_each_batch_is_what_its_own_share_says(
    kind: str, begin: str, ahead: int
) -> None:
    source = on_rank(1, DATA[kind]())
    skip = {"at the start": 0, "in the middle": 1, "at the very end": 3}[begin]
    batches = source.begin(0)
    if skip:
        batches = source.resume(0, skip)
    prefetcher = prefetcher_for(torch.device("cpu"), ahead)

    taken = list(prefetcher(batches, source) if prefetcher is not None else batches)

    shares = [training_share(batch, 1, 2) for batch in BATCHES[skip:]]
    assert [numbers(batch) for batch in taken] == [list(share.items) for share in shares]
    assert [batch.origin.number for batch in taken] == list(range(skip, 3))
    for batch, share in zip(taken, shares, strict=True):
        assert batch.origin.share is not None
        assert list(batch.origin.share.items) == numbers(batch)
        assert (batch.origin.share.total, batch.origin.samples) == (share.total, share.samples)


@pytest.mark.parametrize("kind", DATA)
def test_shares_stay_with_their_batches_beside_another_pass_and_a_gap(kind: str) -> None:
    source = on_rank(0, DATA[kind]())
    source.leave_out([TrainingBatch(0, 1, ())])
    batches = source.begin(0)
    first = next(batches)
    with source.aside() as beside:
        assert [batch.origin.number for batch in beside] == [0, 1, 2]

    taken = [first, *batches]

    assert [numbers(batch) for batch in taken] == [[0, 1], [8]]
    for batch in taken:
        assert batch.origin.share is not None
        assert list(batch.origin.share.items) == numbers(batch)


@pytest.mark.parametrize("kind", [*DATA, "stream"])
def test_what_fills_up_a_last_round_says_that_it_does_not_count(kind: str) -> None:
    data = {**DATA, "stream": lambda: DataLoader(Stream(), 4)}[kind]
    source = DataSource("val", data(), 4, world=SimulatedWorld(1))

    for batches in (source.begin(0), source.begin(0)):
        assert [batch.origin.counts for batch in batches] == [True, False]
    with source.aside() as beside:
        assert [batch.origin.counts for batch in beside] == [True, False]


@pytest.mark.parametrize(
    ("kind", "samples"),
    [("tensors", [4, 4, 3]), ("samples", [4, 4, 3]), ("workers", [4, 4, 3])],
)
def test_a_sampler_tells_how_many_samples_it_put_in(kind: str, samples: list[int]) -> None:
    source = DataSource("train", DATA[kind](), 4)
    assert [batch.origin.samples for batch in source.begin(0)] == samples


def test_batches_that_nothing_is_known_of_have_their_place() -> None:
    assert list(numbered("ab", start=3)) == [
        LoadedBatch("a", Origin(3)),
        LoadedBatch("b", Origin(4)),
    ]


def test_batches_of_a_pass_that_is_read_again_are_counted_from_where_it_goes_on() -> None:
    source = DataSource("train", Batches(), 1)
    source.begin(0)
    with pytest.warns(UserWarning, match="can't skip"):
        rest = list(source.resume(0, 2))
    assert rest == [LoadedBatch("c", Origin(2)), LoadedBatch("d", Origin(3))]


def test_more_batches_than_the_sampler_asked_for_are_of_unknown_samples() -> None:
    origins = deque([Origin(0, samples=4)])
    assert list(with_origins("ab", origins)) == [
        LoadedBatch("a", Origin(0, samples=4)),
        LoadedBatch("b", Origin(1)),
    ]


def test_the_loader_itself_gives_plain_batches() -> None:
    """Views of other frameworks pass over it."""
    source = DataSource("train", DATA["tensors"](), 4)
    assert [len(batch[0]) for batch in source.loader] == [4, 4, 3]
