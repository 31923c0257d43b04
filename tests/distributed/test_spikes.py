"""What two ranks count in a step, and decide by its loss, is the same on both."""

from __future__ import annotations

import pytest

from .conftest import RunAlone, StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    ended = on_ranks("spikes.py", tmp_path_factory.mktemp("spikes"))
    assert ended.exit_code == 0, str(ended)
    return ended


def test_a_loss_that_is_bad_on_one_rank_is_a_spike_on_both(ended: TorchRun) -> None:
    assert ended.claimed("skipped") == [[4]] * 2
    assert len(set(map(str, ended.claimed("reasons")))) == 1
    assert len(set(map(str, ended.claimed("weights")))) == 1


def test_they_compare_the_losses_of_a_process_alone(
    ended: TorchRun, alone: RunAlone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = alone("spikes.py", tmp_path_factory.mktemp("alone"))

    ours, theirs = ended.claimed("losses")
    assert ours == theirs == pytest.approx(one["losses"], rel=1e-4)


def test_tokens_of_all_ranks_are_counted_once(ended: TorchRun) -> None:
    assert ended.claimed("tokens") == [3 * 37] * 2  # one rank has a filler in the last step
