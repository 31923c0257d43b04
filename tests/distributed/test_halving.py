"""Batches are halved by all ranks where memory runs out on one."""

from __future__ import annotations

import pytest

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed
KINDS = ("Counts", "Weighs")


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, tmp_path_factory: pytest.TempPathFactory) -> TorchRun:
    ended = on_ranks("halving.py", tmp_path_factory.mktemp("halving") / "run")
    assert ended.exit_code == 0, str(ended)
    return ended


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_train_as_with_whole_batches(ended: TorchRun, kind: str) -> None:
    assert ended.claimed(f"{kind} trains the same") == [True] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_all_ranks_agree_on_the_parts_that_one_of_them_needs(ended: TorchRun, kind: str) -> None:
    assert ended.claimed(f"{kind} parts") == [[[1, 2]]] * 2
    first, second = ended.claimed(f"{kind} weights")
    assert first == second
