from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.distributed.sharding import (
    RankBatches,
    RankRounds,
    evaluation_share,
    loss_factor,
    training_share,
)

BATCHES = st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=9), max_size=12)
RANKS = st.integers(1, 5)


@given(st.lists(st.integers(), min_size=1, max_size=40), RANKS)
def test_the_shares_of_all_ranks_are_the_global_batch_in_its_order(
    batch: list[int], ranks: int
) -> None:
    shares = [training_share(batch, rank, ranks) for rank in range(ranks)]
    assert list(itertools.chain(*(s.items[: s.samples] for s in shares))) == batch


@given(st.lists(st.integers(), min_size=1, max_size=40), RANKS)
def test_shares_are_equal_within_one_sample(batch: list[int], ranks: int) -> None:
    counts = [training_share(batch, rank, ranks).samples for rank in range(ranks)]
    assert max(counts) - min(counts) <= 1


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), RANKS)
def test_the_average_of_scaled_means_over_ranks_is_the_global_mean(
    losses: list[float], ranks: int
) -> None:
    shares = [training_share(losses, rank, ranks) for rank in range(ranks)]
    means = [sum(s.items) / len(s.items) * s.factor for s in shares]
    assert sum(means) / ranks == pytest.approx(sum(losses) / len(losses), abs=1e-9)


def test_a_rank_without_a_sample_takes_a_filler_that_counts_nothing() -> None:
    share = training_share(["only"], 0, 2)
    other = training_share(["only"], 1, 2)
    fillers = [s for s in (share, other) if s.samples == 0]
    assert [(list(s.items), s.factor) for s in fillers] == [(["only"], 0.0)]
    assert share.factor + other.factor == 2.0


def test_tokens_weigh_as_well_as_samples() -> None:
    assert loss_factor(30, 40, ranks=2) == 1.5


@given(BATCHES, RANKS)
def test_a_rank_s_batches_are_its_shares_of_every_batch(
    batches: list[list[int]], ranks: int
) -> None:
    for rank in range(ranks):
        mine = RankBatches(batches, rank, ranks)
        assert len(mine) == len(batches)
        assert list(mine) == [training_share(b, rank, ranks) for b in batches]


def test_a_sampler_without_length_has_none() -> None:
    with pytest.raises(TypeError, match="length"):
        len(RankBatches(iter([[1]]), 0, 2))


@given(BATCHES, RANKS, st.booleans())
def test_evaluation_counts_every_batch_once(
    batches: list[list[int]], ranks: int, fill: bool
) -> None:
    shares = [list(evaluation_share(batches, rank, ranks, fill=fill)) for rank in range(ranks)]
    counted = [[r.batch for r in share if r.counts] for share in shares]
    rounds = itertools.zip_longest(*counted)
    assert [b for turn in rounds for b in turn if b is not None] == batches


@given(BATCHES, RANKS)
def test_with_fillers_every_rank_has_equally_many_rounds(
    batches: list[list[int]], ranks: int
) -> None:
    shares = [list(evaluation_share(batches, rank, ranks, fill=True)) for rank in range(ranks)]
    assert {len(share) for share in shares} == {math.ceil(len(batches) / ranks)}


@given(BATCHES, RANKS)
def test_a_rank_s_rounds_are_its_batches_with_fillers(batches: list[list[int]], ranks: int) -> None:
    for rank in range(ranks):
        mine = RankRounds(batches, rank, ranks)
        rounds = list(evaluation_share(batches, rank, ranks, fill=True))
        assert len(mine) == len(rounds)
        assert list(mine) == rounds


def test_without_fillers_a_rank_may_have_nothing() -> None:
    assert list(evaluation_share(["one"], 1, 2)) == []


@pytest.mark.parametrize("part", [RankBatches, RankRounds])
def test_a_rank_s_part_has_the_attributes_of_the_whole(part: type[Any]) -> None:
    class Batches(list[list[int]]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    batches = Batches([[1, 2]])
    part(batches, 0, 2).set_epoch(3)

    assert batches.epoch == 3
    assert not hasattr(part(batches, 0, 2), "generator")
