from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from trackside import DataError, TrainingBatch
from trackside.data.left_out import ExcludedBatches
from trackside.data.source import DataSource
from trackside.progress import training_batches


def samples(data: Any, left_out: list[TrainingBatch], epoch: int = 0) -> list[list[int]]:
    source = DataSource("train", data, 4, training=True)
    source.leave_out(left_out)
    return [loaded.data[0].flatten().tolist() for loaded in source.begin(epoch)]


KINDS = {
    "tensors": lambda: TensorDataset(torch.arange(10)),
    "loader": lambda: DataLoader(list(zip(range(10), strict=True)), batch_size=4),  # type: ignore[arg-type]
    "batches": lambda: DataLoader(
        [(torch.arange(4),), (torch.arange(4, 8),), (torch.arange(8, 10),)],  # type: ignore[arg-type]
        batch_size=None,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_left_out_of_one_batch_of_one_epoch(kind: str) -> None:
    out = [TrainingBatch(0, 1, (), (0, 2))]
    assert samples(KINDS[kind](), out) == [[0, 1, 2, 3], [5, 7], [8, 9]]
    assert samples(KINDS[kind](), out, epoch=1)[1] == [4, 5, 6, 7]


def test_numbers_are_those_of_the_full_pass_where_batches_are_left_out_too() -> None:
    out = [TrainingBatch(0, 0), TrainingBatch(0, 1, (), (3,))]
    assert samples(KINDS["tensors"](), out) == [[4, 5, 6], [8, 9]]


def test_the_number_of_samples_is_that_of_those_that_are_left() -> None:
    source = DataSource("train", KINDS["tensors"](), 4, training=True)
    source.leave_out([TrainingBatch(0, 1, (), (0,))])
    assert [loaded.origin.samples for loaded in source.begin(0)] == [4, 3, 2]


def test_a_batch_that_would_be_empty_is_refused() -> None:
    with pytest.raises(DataError, match="can't be left out"):
        samples(KINDS["tensors"](), [TrainingBatch(0, 2, (), (0, 1))])


def test_places_are_kept_over_a_checkpoint() -> None:
    listed = [{"epoch": 0, "number": 1, "samples": [4, 5], "places": [1]}]
    assert training_batches(listed) == (TrainingBatch(0, 1, (4, 5), (1,)),)
    assert "places 1" in str(training_batches(listed)[0])
    del listed[0]["places"]
    assert training_batches(listed)[0].places == ()


def test_nothing_is_changed_where_nothing_is_left_out() -> None:
    batches = iter(())
    assert ExcludedBatches().thinned(batches) is batches
