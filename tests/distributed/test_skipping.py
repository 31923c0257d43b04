"""A trainer's own requests on two ranks: to skip a step, and to stop in the last one."""

from __future__ import annotations

import pytest

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed

STEP = [2, "a bad batch", "trainer on rank 1"]


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    ended = on_ranks("skipping.py", tmp_path_factory.mktemp("skipping") / "run")
    assert ended.exit_code == 0, str(ended)
    return ended


def test_a_step_that_one_rank_skips_is_skipped_by_both(ended: TorchRun) -> None:
    assert ended.claimed("weights stayed") == [True] * 2
    assert ended.claimed("skipped, first") == [[STEP]] * 2
    assert ended.claimed("recorded, first") == [[[2, 1.0]]] * 2


def test_a_skipped_step_is_known_after_a_resume(ended: TorchRun) -> None:
    assert ended.claimed("skipped, resumed") == [[STEP]] * 2
    assert ended.claimed("recorded, resumed") == [[[2, 1.0]]] * 2


def test_both_ranks_are_stopping_in_the_evaluation_after_a_stop_in_the_last_step(
    ended: TorchRun,
) -> None:
    assert ended.claimed("outcome") == [["stopped", 4, "trainer on rank 1"]] * 2
    assert ended.claimed("stopping") == [[True]] * 2
