"""The end of an epoch on request, and evaluations within a share of the time, on two ranks."""

from __future__ import annotations

import pytest

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    ended = on_ranks("ending_epochs.py", tmp_path_factory.mktemp("ending_epochs"))
    assert ended.exit_code == 0, str(ended)
    return ended


def test_an_epoch_that_one_rank_ends_is_ended_by_both_at_one_step(ended: TorchRun) -> None:
    ours, theirs = ended.claimed("ended")
    assert ours == theirs
    (epoch, step, who), _ = ours
    assert (epoch, who) == (0, "ends on rank 1")
    assert 2 <= step < 16


def test_asked_by_all_ranks_it_ends_at_that_very_step(ended: TorchRun) -> None:
    (_, first, _), second = ended.claimed("ended")[0]
    assert second == [1, first + 3, "ends"]
    assert ended.claimed("steps") == [first + 3 + 16] * 2


def test_a_resume_from_the_end_of_such_an_epoch_is_bitwise(ended: TorchRun) -> None:
    assert ended.claimed("resumed") == [[True, True]] * 2


def test_evaluations_within_a_share_are_made_by_all_as_rank_zero_decides(ended: TorchRun) -> None:
    ours, theirs = ended.claimed("evaluated")
    assert ours == theirs
    assert len(ours) == 1
    assert ended.claimed("evaluated by the other clock")[0] > 1
