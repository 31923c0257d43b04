from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    folder: Path = tmp_path_factory.mktemp("rolling back")
    ended = on_ranks("rolling_back.py", folder)
    assert ended.exit_code == 0, str(ended)
    return ended


def test_one_rank_sees_the_bad_sample_and_all_go_back(ended: TorchRun) -> None:
    ours, theirs = ended.claimed("saw it")
    assert sorted(ours + theirs) == [0, 1]  # one of them in each epoch, and once only
    assert ended.claimed("outcome") == ["completed"] * 2
    assert ended.claimed("rollbacks") == [2] * 2  # once per epoch
    assert ended.claimed("left out") == [[True, True]] * 2
    assert all("batch[0]" in reason for reason in ended.claimed("reasons")[0])
    assert all("on rank" in who for who in ended.claimed("asked by")[0])


def test_they_end_as_ranks_whose_data_never_gave_the_batch(ended: TorchRun) -> None:
    assert ended.claimed("same weights") == [True] * 2
    assert ended.claimed("same rows") == [True] * 2


def test_the_budget_is_that_of_all_ranks(ended: TorchRun) -> None:
    reasons = ended.claimed("spent")
    assert reasons[0] == reasons[1]
    assert reasons[0].endswith("; and it went back once already")


def test_a_value_that_is_bad_on_one_rank_stops_all_before_the_update(ended: TorchRun) -> None:
    reasons = ended.claimed("stopped")
    assert reasons[0] == reasons[1]
    assert "the data is bad already" in reasons[0]
    assert ended.claimed("weights after a stop") == [True] * 2


def test_a_schedule_of_counts_saves_at_its_steps(ended: TorchRun) -> None:
    assert ended.claimed("saved")[0] == [f"step-{step:010}" for step in (1, 2, 4, 6)]


def test_a_run_resumed_from_an_earlier_checkpoint_goes_back_there(ended: TorchRun) -> None:
    assert ended.claimed("taken back") == [[True, [2]]] * 2


def test_each_rank_reads_the_best_weights_while_the_first_still_writes_them(
    ended: TorchRun,
) -> None:
    assert ended.claimed("read the best") == [True] * 2
