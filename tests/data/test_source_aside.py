"""A pass aside leaves the pass under way, the position and the generators as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trackside.data.source import DataSource
from trackside.errors import DataError
from trackside.testing.simulated_world import SimulatedWorld

NUMBERS = TensorDataset(torch.arange(12))


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(NUMBERS, batch_size=2, **options)


def flat(batches: Any) -> list[int]:
    return [int(number) for batch in batches for number in batch.data[0]]


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"shuffle": True, "generator": "own"},
        {"shuffle": True, "num_workers": 1, "persistent_workers": True},
    ],
    ids=str,
)
def test_a_pass_under_way_goes_on_as_if_nothing_had_been_read_beside_it(
    options: dict[str, Any],
) -> None:
    def passes(look_aside: bool) -> tuple[list[int], list[int], torch.Tensor]:
        torch.manual_seed(0)
        own = {"generator": torch.Generator().manual_seed(4)} if "generator" in options else {}
        source = DataSource("train", loader(**{**options, **own}), 2)
        batches = source.begin(0)
        first = [next(batches) for _ in range(2)]
        if look_aside:
            with source.aside() as beside:
                assert sorted(flat(beside)) == list(range(12))
        first += list(batches)
        return flat(first), flat(source.begin(1)), torch.rand(3)

    undisturbed, disturbed = passes(look_aside=False), passes(look_aside=True)

    assert disturbed[:2] == undisturbed[:2]
    assert torch.equal(disturbed[2], undisturbed[2])


def test_a_pass_aside_may_be_left_in_its_middle() -> None:
    source = DataSource("train", loader(shuffle=True), 2)
    source.begin(0)
    torch.manual_seed(3)
    expected = torch.rand(2)

    torch.manual_seed(3)
    with source.aside() as beside:
        next(beside)

    assert torch.equal(torch.rand(2), expected)


def test_a_pass_aside_is_as_long_as_any_other() -> None:
    source = DataSource("train", loader(), 2)
    source.limit(2)

    with source.aside() as beside:
        assert flat(beside) == [0, 1, 2, 3]


def test_what_can_be_passed_over_once_has_no_room_for_a_second_pass() -> None:
    source = DataSource("train", iter([torch.zeros(2)]), 2)

    with pytest.raises(DataError, match="no room for a second pass"), source.aside():
        pass


def test_whether_there_is_room_for_a_second_pass_can_be_asked_before() -> None:
    DataSource("train", loader(), 2).check_aside("do without")

    with pytest.raises(DataError, match="do without"):
        DataSource("train", iter([torch.zeros(2)]), 2).check_aside("do without")


def test_data_without_a_fast_path_is_dealt_out_to_ranks_in_whole_batches() -> None:
    class Plain(Dataset[Any]):
        def __len__(self) -> int:
            return 7

        def __getitem__(self, index: int) -> int:
            return index

    of_rank = []
    for rank in range(2):
        source = DataSource("val", Plain(), 2, world=SimulatedWorld(rank))
        taken = [(batch.data.tolist(), batch.origin.counts) for batch in source.begin(0)]
        of_rank.append([batch for batch, counts in taken if counts])

    assert of_rank == [[[0, 1], [4, 5]], [[2, 3], [6]]]


def test_a_pass_that_nobody_resumes_leaves_the_position_alone() -> None:
    source = DataSource("train", loader(shuffle=True), 2)
    source.begin(0)
    position = source.state_dict()["epoch_start"]
    flat(source.begin(1, resumable=False))
    assert source.state_dict()["epoch_start"] is position
