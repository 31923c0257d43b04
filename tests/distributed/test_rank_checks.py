from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.distributed.simulation import Ranks, SimulatedExchange
from trackside.distributed import FSDP, World
from trackside.distributed.agreement import Together
from trackside.distributed.rank_checks import (
    DATA,
    FLAGS,
    OPTIONS,
    WEIGHTS,
    Note,
    Policy,
    RankChecks,
    Subject,
)
from trackside.distributed.votes import Pace
from trackside.errors import ConfigurationError, DisagreementError

SUBJECTS = (WEIGHTS, OPTIONS, FLAGS, DATA)
PARTS = 3


def note(subject: Subject, step: int, changed: int | None = None) -> Note:
    parts: Any = [10 * step + part + 1000 * (part == changed) for part in range(PARTS)]
    if subject is WEIGHTS:
        parts = torch.tensor(parts)
    if subject is OPTIONS:
        parts = [str(part) for part in parts]
    return Note(subject, step, parts, lambda number: f"part {number} of {subject.name}")


def errors_of(
    ranks: Ranks,
    planted: tuple[int, Subject, int, int] | None,
    *,
    policy: Policy = "raise",
    every: int = 1,
    steps: int = 6,
    device: str = "cpu",
) -> list[tuple[str, int]]:
    """On each rank, the error and the step at which it came, with one difference planted."""

    def program(rank: int) -> tuple[str, int]:
        exchange = SimulatedExchange(ranks, rank)
        world: Any = SimpleNamespace(
            gather=exchange.gather, device=torch.device(device), is_global_zero=rank == 0
        )
        checks = RankChecks(world, policy)
        agreement = Together(exchange, lambda: 0.0, Pace(every), speaks=rank == 0, checks=checks)
        step = 0
        try:
            for step in range(1, steps + 1):
                ranks.pause()
                for subject in SUBJECTS:
                    here = planted is not None and planted[:3] == (rank, subject, step)
                    checks.note(note(subject, step, planted[3] if here and planted else None))
                agreement.at_step([])
            agreement.agree_now([])
        except DisagreementError as error:
            return str(error), step
        return "", step

    return ranks.run(program)


@given(
    rank=st.integers(0, 2),
    subject=st.sampled_from(SUBJECTS),
    step=st.integers(1, 6),
    part=st.integers(0, PARTS - 1),
    choices=st.lists(st.integers(0, 2), min_size=1, max_size=20),
    every=st.sampled_from([1, 2, 4]),
    device=st.sampled_from(["cpu", "meta"]),
)
def test_whatever_differs_on_one_rank_is_named_on_all_within_a_few_exchanges(
    rank: int, subject: Subject, step: int, part: int, choices: list[int], every: int, device: str
) -> None:
    ranks = Ranks(3, itertools.cycle(choices))

    found = errors_of(ranks, (rank, subject, step, part), every=every, device=device)

    assert len(set(found)) == 1, "the same error at the same step on every rank"
    text, at = found[0]
    others = "ranks 1, 2" if rank == 0 else f"rank {rank}"
    assert f"after step {step}: part {part} of {subject.name} differs on {others}" in text
    assert at <= step + 3 * every


@given(choices=st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_ranks_that_are_the_same_hear_nothing(choices: list[int]) -> None:
    assert errors_of(Ranks(3, itertools.cycle(choices)), None) == [("", 6)] * 3


def test_a_warning_comes_once_for_each_subject_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ranks = Ranks(2, itertools.cycle([0, 1]))

    with caplog.at_level(logging.WARNING, "trackside"):
        found = errors_of(ranks, (1, FLAGS, 2, 1), policy="warn")

    assert found == [("", 6)] * 2
    assert len(caplog.records) == 1


def test_notes_of_other_things_are_told_as_such() -> None:
    ranks = Ranks(2, itertools.cycle([0, 1]))

    def program(rank: int) -> None:
        exchange = SimulatedExchange(ranks, rank)
        world: Any = SimpleNamespace(gather=exchange.gather, device=torch.device("cpu"))
        checks = RankChecks(world)
        if rank:
            checks.note(note(FLAGS, 1))
        checks.compare_now(exchange.send)

    with pytest.raises(DisagreementError, match="0 on rank 0, 1 on rank 1"):
        ranks.run(program)


@pytest.mark.parametrize("changed", [None, 0, 1, 2, 3])
def test_a_shard_is_compared_with_its_copies_alone(changed: int | None) -> None:
    ranks = Ranks(4, itertools.cycle(range(4)))

    def program(rank: int) -> str:
        exchange = SimulatedExchange(ranks, rank)
        world: Any = SimpleNamespace(gather=exchange.gather, device=torch.device("cpu"))
        checks = RankChecks(world, shard=(rank % 2, 2))
        parts = [rank % 2, 7 + (rank == changed)]
        checks.note(Note(WEIGHTS, 1, parts, lambda n: f"part {n}", is_of_shard=True))
        try:
            checks.compare_now(exchange.send)
        except DisagreementError as error:
            return str(error).partition("\n")[0]
        return ""

    others = {0: 2, 1: 3, 2: 2, 3: 3}
    expected = f"the ranks disagree after step 1: part 1 differs on rank {others.get(changed or 0)}"
    assert ranks.run(program) == [expected if changed is not None else ""] * 4


def test_fsdp_says_which_ranks_hold_the_same_shard() -> None:
    worlds = [SimpleNamespace(rank=rank, size=4) for rank in range(4)]

    shards = [FSDP(replicas=2).shard_of(cast("World", world)) for world in worlds]
    assert shards == [(0, 2), (1, 2), (0, 2), (1, 2)]
    assert FSDP().shard_of(cast("World", worlds[0])) is None


def test_copies_that_do_not_divide_the_ranks_are_refused() -> None:
    world: Any = SimpleNamespace(rank=0, size=3, device=torch.device("cpu"))

    with pytest.raises(ConfigurationError, match="replicas=2 can't be made of 3 ranks"):
        FSDP(replicas=2).place(torch.nn.Linear(1, 1), world)
