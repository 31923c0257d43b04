"""Data, weights and saves of several ranks, through the trainer; one start for all."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import RunAlone, StartForked, TorchRun

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]
TOLERANCE = 1e-11


@pytest.fixture(scope="module")
def two(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    run = on_ranks("spreading.py", tmp_path_factory.mktemp("two"), timeout_seconds=200)
    assert (run.exit_code, run.hung) == (0, False), run
    return run


@pytest.fixture(scope="module")
def one(alone: RunAlone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return alone("spreading.py", tmp_path_factory.mktemp("one"))


def close(a: Any, b: Any, tolerance: float = TOLERANCE) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list):
        pairs = zip(a, b, strict=True)
        return len(a) == len(b) and all(close(x, y, tolerance) for x, y in pairs)
    if isinstance(a, float):
        return bool(a == pytest.approx(b, rel=tolerance, abs=tolerance))
    return bool(a == b)


def alike(run: TorchRun, claim: str) -> Any:
    """What both ranks claim."""
    first, second = run.claimed(claim)
    assert first == second, f"{claim} differs between ranks"
    return first


# --- figures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["tokens", "tokens of two batches"])
def test_what_a_step_returns_as_weight_counts_in_gradients_too(
    one: dict[str, Any], two: TorchRun, what: str
) -> None:
    rows, weights = alike(two, what)

    assert close(rows, one[what][0])
    assert close(weights, one[what][1])


def test_steps_that_optimize_by_hand_weigh_uneven_parts(one: dict[str, Any], two: TorchRun) -> None:
    assert close(alike(two, "by hand"), one["by hand"])


def test_values_that_only_some_ranks_log_are_merged_by_name(two: TorchRun) -> None:
    rows = alike(two, "names")

    assert [row["of/0"] for row in rows if "of/0" in row] == [10.0, 10.0, 10.0]
    assert [row["of/1"] for row in rows if "of/1" in row] == [11.0, 11.0, 11.0]
    assert [row["last/rank"] for row in rows if "last/rank" in row] == [1.0, 2.0, 3.0]


# --- data of each rank's own -------------------------------------------------------------------


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_an_epoch_over_iterables_ends_with_the_first_rank_s(two: TorchRun, parallel: str) -> None:
    step, at, _ = alike(two, f"unknown length, {parallel}")

    assert step == 6, "two epochs of 5 batches, two in a step, the last step with one"
    assert at == [1, 2, 3, 3, 4, 5, 6, 6]


def test_lists_of_other_lengths_are_refused_before_the_first_step(two: TorchRun) -> None:
    kind, text = alike(two, "other lengths")

    assert kind == "DataError"
    assert "3 on rank 0, 4 on rank 1" in text


# --- sharded models ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sharded", "sharded, offload"])
def test_a_sharded_model_is_built_without_memory_and_trains_as_one_process_does(
    one: dict[str, Any], two: TorchRun, how: str
) -> None:
    seen, weights = alike(two, how)

    assert seen["without memory"]
    assert seen["first"] == one["sharded"][0]["first"], "the constructor's values, bit by bit"
    assert close(weights, one["sharded"][1]), "clipped, averaged and evaluated as well"


def test_mixed_precision_computes_in_bf16_and_keeps_weights_in_fp32(
    one: dict[str, Any], two: TorchRun
) -> None:
    seen, weights = alike(two, "sharded, bf16")

    assert seen["computed in"] == "torch.bfloat16"
    assert set(seen["dtypes"]) == {"torch.float32"}
    assert not close(weights, one["sharded"][1])
    assert close(weights, one["sharded"][1], tolerance=0.05)


def test_weights_of_a_file_are_loaded_into_shards(two: TorchRun) -> None:
    assert alike(two, "loads weights")


def test_a_factory_that_loads_weights_is_refused_where_it_would_lose_them(two: TorchRun) -> None:
    kind, text = alike(two, "loads in the factory")

    assert kind == "ConfigurationError"
    assert "LoadWeights" in text
    assert "meta_device=False" in text
    assert alike(two, "loads in the factory, in memory") == 1.0


# --- saves -------------------------------------------------------------------------------------


def test_a_nan_in_one_rank_s_shard_keeps_all_from_saving(two: TorchRun) -> None:
    kind, text = alike(two, "spoiled")

    assert kind == "NonFiniteError"
    assert "'0.weight'" in text
    assert "after step 3" in text


def test_a_failed_save_on_one_rank_ends_all_at_the_same_step(two: TorchRun) -> None:
    (first, told), (second, cause) = two.claimed("full disk, raise")

    assert first == second == "CheckpointWriteError"
    assert "rank 1: no space left on device" in told
    assert "no space left on device" in cause
    assert len(alike(two, "full disk, raise: step")) == 1


def test_a_failed_save_that_only_warns_ends_nobody(two: TorchRun) -> None:
    assert alike(two, "full disk, warn") == 100
    assert alike(two, "full disk, warn: step") == []
