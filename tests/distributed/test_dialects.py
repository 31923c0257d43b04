"""What callbacks of other frameworks are promised for several ranks, by its number there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.distributed.conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def on_two(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    run = on_ranks("dialects.py", tmp_path_factory.mktemp("two"), ranks=2)
    assert run.exit_code == 0, run
    return run


@pytest.fixture(scope="module")
def on_one(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    run = on_ranks("dialects.py", tmp_path_factory.mktemp("one"), ranks=1)
    assert run.exit_code == 0, run
    return run


def close(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def test_nn_03_logs_of_every_rank_are_the_means_over_all(
    on_one: TorchRun, on_two: TorchRun
) -> None:
    (alone,) = on_one.claimed("logs")

    for logs in on_two.claimed("logs"):
        assert [epoch["loss"] for epoch in logs] == close([epoch["loss"] for epoch in alone])
        assert [epoch["val_loss"] for epoch in logs] == close([e["val_loss"] for e in alone])
    assert on_two.claimed("end")[0]["val_loss"] == on_two.claimed("logs")[0][-1]["val_loss"]


def test_nn_06_callbacks_run_on_all_ranks(on_two: TorchRun) -> None:
    assert on_two.claimed("rank") == [[0, 2], [1, 2]]
    assert on_two.claimed("failed") == [{}, {}]


def test_an_04_a_checkpoint_that_all_ranks_save_is_written_once(on_two: TorchRun) -> None:
    assert on_two.claimed("epoch") == [1, 1]
    of_rank_zero, of_the_other = sorted(on_two.claimed("written"), reverse=True)
    assert {"0.pt", "1.pt"} <= set(of_rank_zero)
    assert of_the_other == []


def test_pa_10_sizes_of_batches_are_those_of_a_rank(on_one: TorchRun, on_two: TorchRun) -> None:
    assert on_one.claimed("sizes") == [[4, 4, 4]]
    assert on_two.claimed("sizes") == [[2, 2, 4], [2, 2, 4]]


def test_pa_04_a_stop_raised_on_one_rank_ends_all_at_one_step(
    on_one: TorchRun, on_two: TorchRun
) -> None:
    first, second = on_two.claimed("stopped")
    assert first == second
    assert first[1] == "the last rank has enough"
    assert on_one.claimed("stopped")[0][0] == 4


def test_pa_05_losses_in_the_history_are_those_over_all_ranks(
    on_one: TorchRun, on_two: TorchRun
) -> None:
    ((alone, _),) = on_one.claimed("gathered")

    for loss, losses in on_two.claimed("gathered"):
        assert loss == close(alone)
        assert losses == pytest.approx([alone, alone], rel=1e-6)


def test_no_03_a_data_set_is_shared_out_and_collated_in_order(
    on_one: TorchRun, on_two: TorchRun
) -> None:
    ((_, alone, _),) = on_one.claimed("predicted")

    for targets, predictions, sizes in on_two.claimed("predicted"):
        assert targets == [0, 1, 2, 3, 4, 5, 6]
        assert predictions == close(alone)
        assert sizes == [2, 2, 2, 1]


def test_no_09_a_sampler_of_ones_own_is_shared_out_too(on_two: TorchRun) -> None:
    for targets, sizes in on_two.claimed("backwards"):
        assert targets == [6, 5, 4, 2, 0]
        assert sizes == [2, 2, 1]


def test_dt_02_launch_comes_before_the_process_group(on_two: TorchRun) -> None:
    assert [group for group, *_ in on_two.claimed("reduced")] == [False, False]


def test_dt_04_rank_zero_callbacks_run_on_rank_zero_only(on_two: TorchRun) -> None:
    assert on_two.claimed("rank zero calls") == [2, 0]


def test_dt_13_the_world_averages_over_ranks(on_two: TorchRun) -> None:
    (_, mean, loss, zero), (_, other_mean, other_loss, other_zero) = on_two.claimed("reduced")

    assert mean == other_mean == 0.5
    assert loss == other_loss
    assert (zero, other_zero) == (True, False)
