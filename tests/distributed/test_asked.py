"""`trackside ask` on two ranks."""

from __future__ import annotations

import pytest

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    folder = tmp_path_factory.mktemp("asked")
    ended = on_ranks("asked.py", folder)
    assert ended.exit_code == 0, str(ended)
    return ended


def test_both_ranks_stop_at_the_same_step_for_the_reason_that_was_given(ended: TorchRun) -> None:
    ours, theirs = ended.claimed("outcome")
    assert ours == theirs
    assert ours[:2] == ["stopped", "good enough"]
    assert "steering" in ended.claimed("asked by")[0]


def test_an_evaluation_that_was_asked_for_is_taken_once_and_by_both(ended: TorchRun) -> None:
    ours, theirs = ended.claimed("evaluated")
    assert ours == theirs
    assert len(ours) == 1


def test_a_checkpoint_that_was_asked_for_is_there(ended: TorchRun) -> None:
    assert len(ended.claimed("saved")[0]) == 1


def test_options_change_on_both_ranks_and_stand_in_the_history(ended: TorchRun) -> None:
    assert ended.claimed("set") == [[[0.01], [70.0]]] * 2
    assert ended.claimed("patience") == [70] * 2
    ours, theirs = ended.claimed("weights")
    assert ours == theirs


def test_each_command_has_an_answer(ended: TorchRun) -> None:
    assert ended.claimed("answers")[0] == [
        ["evaluate", True],
        ["save", True],
        ["set", False],
        ["set", True],
        ["set", True],
        ["stop", True],
    ]
