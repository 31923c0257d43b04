"""A run goes on from a checkpoint that other numbers of ranks, or another strategy, have saved."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import RunAlone, StartForked

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(400)]  # four worlds

PATHS = {
    "one to two": "ddp-1 to ddp-2",
    "one to two, sharded": "ddp-1 to fsdp-2",
    "two to one": "ddp-2 to ddp-1",
    "two to one, from shards": "fsdp-2 to ddp-1",
    "DDP to FSDP": "ddp-2 to fsdp-2",
    "FSDP to DDP": "fsdp-2 to ddp-2",
    "two to four": "ddp-2 to ddp-4",
    "two to four, from shards to shards": "fsdp-2 to fsdp-4",
    "as it was": "fsdp-2 to fsdp-2",
}
TOLERANCE = 1e-12
"""Relative, in double precision: only the order of additions differs."""


@pytest.fixture(scope="module")
def claims(
    on_ranks: StartForked, alone: RunAlone, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each rank of all worlds claims; the first world is one process."""
    root = tmp_path_factory.mktemp("resized")
    found: list[dict[str, Any]] = [{}]
    for ranks, saves in [(1, ["ddp"]), (2, ["ddp", "fsdp"]), (1, []), (4, [])]:
        moves = [path.split(" to ") for path in PATHS.values()]
        loads = [f"{to[:-2]}={saved}" for saved, to in moves if to.endswith(f"-{ranks}")]
        tasks = saves if saves and ranks == 1 else [*saves, *loads]
        if ranks == 1:
            found[0] |= alone("resized.py", root, *tasks)
            continue
        run = on_ranks("resized.py", root, *tasks, ranks=ranks, timeout_seconds=200)
        assert run.exit_code == 0, run
        found += [rank.claims for rank in run.ranks]
    return found


def by_ranks(claims: list[dict[str, Any]], name: str) -> list[Any]:
    """What is claimed under `name`, by every rank of the world that claims it."""
    return [each[name] for each in claims if name in each]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_weights_optimizer_and_averages_are_bitwise_those_that_were_saved(
    claims: list[dict[str, Any]], path: str
) -> None:
    saving = path.partition(" to ")[0]
    saved, loaded = by_ranks(claims, f"{saving}: contents"), by_ranks(claims, f"{path}: contents")

    assert by_ranks(claims, f"{saving}: saved at")[0] % 40, "in the middle of an epoch"
    assert len(loaded) == int(path[-1]), "every rank claims it"
    assert {name.partition(".")[0] for name in saved[0]} == {"model", "optimizer", "ema"}
    assert all(each == saved[0] for each in [*saved, *loaded])


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_the_run_goes_on_at_the_same_sample(claims: list[dict[str, Any]], path: str) -> None:
    unbroken = claims[0]
    for rows in by_ranks(claims, f"{path}: rows"):
        assert rows == [pytest.approx(row, rel=TOLERANCE) for row in unbroken["ddp-1: rows"]]
    for weights in by_ranks(claims, f"{path}: weights"):
        expected = unbroken["ddp-1: weights"]
        assert weights == [pytest.approx(values, rel=TOLERANCE) for values in expected]
