"""How many samples a batch has: of this rank, and over all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trackside.dialects.sizes import effective_batch_size, rank_batch_size, total_batch_size


def run(ranks: int, accumulate: int = 1) -> Any:
    def source(size: int | None) -> Any:
        return SimpleNamespace(loader=SimpleNamespace(batch_size=size))

    return SimpleNamespace(
        data={"train": source(8), "val": source(6), "own": source(None)},
        world=SimpleNamespace(size=ranks),
        accumulate=accumulate,
    )


@pytest.mark.parametrize(("ranks", "of_a_rank"), [(1, 8), (2, 4), (3, 3)])
def test_a_training_batch_is_shared_out_over_the_ranks(ranks: int, of_a_rank: int) -> None:
    assert rank_batch_size(run(ranks), "train") == of_a_rank
    assert total_batch_size(run(ranks), "train") == 8


def test_in_an_evaluation_each_rank_has_whole_batches() -> None:
    assert (rank_batch_size(run(2), "val"), total_batch_size(run(2), "val")) == (6, 12)


def test_an_update_has_the_samples_of_all_its_batches() -> None:
    assert effective_batch_size(run(2, accumulate=3)) == 24


def test_batches_without_a_size_have_none() -> None:
    assert rank_batch_size(run(2), "own") is None
    assert total_batch_size(run(2), None) is None
