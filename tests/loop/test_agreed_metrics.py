"""Metrics of an evaluation are the same on every rank, whoever computes or changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulated_ranks import SimulatedRanks
from trackside import UsageError, World
from trackside.loop.agreed_metrics import agreed, changes

NAN = float("nan")
BEFORE = {"val/loss": 1.0}


def on_ranks(call: Callable[..., Any], *of_ranks: Any) -> list[Any]:
    def program(world: World) -> Any:
        return call(world, *of_ranks[world.rank])

    return SimulatedRanks(len(of_ranks)).run(program)


def test_every_rank_gets_the_value_of_rank_0() -> None:
    assert on_ranks(agreed, ({"a": 1.0},), ({"a": 1.0 + 1e-9},)) == [{"a": 1.0}] * 2


@pytest.mark.parametrize("other", [2.0, NAN], ids=str)
def test_a_metric_that_differs_is_named_with_its_values(other: float) -> None:
    with pytest.raises(
        UsageError, match=rf"'a' differs .*\s.*\s.*1 on rank 0, {other:g} on rank 1"
    ):
        on_ranks(agreed, ({"a": 1.0},), ({"a": other},))


def test_what_is_no_number_on_every_rank_is_one_value() -> None:
    assert [str(each["a"]) for each in on_ranks(agreed, ({"a": NAN},), ({"a": NAN},))] == [
        "nan"
    ] * 2


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["val/loss", "val/new"])
def test_what_one_rank_changes_is_changed_on_all(name: str, rank: int) -> None:
    after = [dict(BEFORE), dict(BEFORE)]
    after[rank][name] = 0.5

    assert on_ranks(changes, *((BEFORE, each) for each in after)) == [{name: 0.5}] * 2


def test_what_nobody_changes_is_no_change() -> None:
    assert on_ranks(changes, (BEFORE, dict(BEFORE)), (BEFORE, dict(BEFORE))) == [{}, {}]


def test_other_changes_on_other_ranks_are_refused() -> None:
    with pytest.raises(UsageError, match="'x'"):
        on_ranks(changes, (BEFORE, BEFORE | {"x": 1.0}), (BEFORE, BEFORE | {"x": 2.0}))
