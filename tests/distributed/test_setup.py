from __future__ import annotations

import pytest
import torch

from tests.distributed.conftest import StartTorchrun
from trackside.distributed.setup import RankInfo, device_of, join, leave
from trackside.errors import ConfigurationError

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RESTART_COUNT": "2",
}


def test_without_a_launcher_there_is_one_process() -> None:
    assert RankInfo.from_environment({}) == RankInfo(0, 1, 0, 0)


def test_torchrun_s_environment_tells_the_place() -> None:
    assert RankInfo.from_environment(TORCHRUN) == RankInfo(3, 4, 1, 2)


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_an_incomplete_environment_is_refused(missing: str) -> None:
    environment = {k: v for k, v in TORCHRUN.items() if k != missing}
    with pytest.raises(ConfigurationError, match=f"no {missing}"):
        RankInfo.from_environment(environment)


@pytest.mark.parametrize(("name", "value"), [("RANK", "4"), ("RANK", "-1"), ("WORLD_SIZE", "two")])
def test_a_wrong_environment_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        RankInfo.from_environment({**TORCHRUN, name: value})


def test_one_process_joins_itself_and_leaves_nothing() -> None:
    world = join("cpu", place=RankInfo())
    assert (world.rank, world.size, world.links) == (0, 1, None)
    leave()
    assert not torch.distributed.is_initialized()


def test_a_device_that_is_named_is_taken() -> None:
    assert device_of(3, "cpu") == torch.device("cpu")
    assert device_of(3, "cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("local_rank", [0, 1])
def test_each_rank_gets_the_accelerator_of_its_number(
    local_rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_accelerators(monkeypatch, count=2)
    assert device_of(local_rank) == torch.device("cuda", local_rank)


def test_more_ranks_than_accelerators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_accelerators(monkeypatch, count=2)
    with pytest.raises(ConfigurationError, match="at most 2 processes"):
        device_of(2)


def pretend_accelerators(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))


@pytest.mark.distributed
def test_no_exit_crashes_or_hangs_however_ranks_end(torchrun: StartTorchrun) -> None:
    # Rank 1 just ends, without leave(); rank 0 has work under way that nobody will ever answer.
    run = torchrun("leaving.py")
    assert (run.exit_code, run.hung) == (0, False), str(run)
    assert run.claimed("left") == [True, True]


@pytest.mark.distributed
def test_a_process_group_that_exists_is_used_and_left_alone(torchrun: StartTorchrun) -> None:
    run = torchrun("existing_group.py")
    assert (run.exit_code, run.hung) == (0, False), str(run)
    assert run.claimed("sum") == [1.0, 1.0]
    assert run.claimed("group after leaving") == [True, True]
