"""Two real ranks upload one run: killed, it goes on elsewhere from what both have sent."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from trackside.checkpoint.storage import shard_file_name
from trackside.remote.address import Address
from trackside.remote.contents import Contents
from trackside.remote.copies import download
from trackside.remote.fetching import read_contents
from trackside.remote.patience import Patience
from trackside.remote.store import Store

from .conftest import StartForked, TorchRun

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploading")


@pytest.fixture(scope="module")
def address(folder: Path) -> str:
    return f"file://{folder}/store/run"


@pytest.fixture(scope="module")
def ended(on_ranks: StartForked, folder: Path, address: str) -> TorchRun:
    killed = on_ranks("uploading.py", address, folder, "killed")
    assert killed.exit_codes == {0: -signal.SIGKILL, 1: -signal.SIGKILL}, str(killed)
    ended = on_ranks("uploading.py", address, folder)
    assert ended.exit_code == 0, str(ended)
    return ended


def contents(address: str) -> Contents:
    return read_contents(Store(Address(address)), Patience(address, "", 1.0))


def test_killed_they_go_on_elsewhere_as_a_run_that_was_never_killed(ended: TorchRun) -> None:
    assert ended.claimed("went on from step") in ([6, 6], [12, 12])
    assert ended.claimed("outcome") == ["completed"] * 2
    assert ended.claimed("as the unbroken run") == [True] * 2


def test_each_rank_has_sent_the_files_that_it_wrote(ended: TorchRun, address: str) -> None:
    sent = []
    for kept in contents(address).checkpoints.values():
        senders = {name: int(one.parts[0].name[-1]) for name, one in kept.files.items()}
        of_the_second = {"rank-00001.json", shard_file_name(2)}
        sent.append({name for name, rank in senders.items() if rank == 1} == of_the_second)
    assert any(sent)  # at its end, rank 0 waits for others for ten seconds alone


def test_all_of_it_comes_back_verified(ended: TorchRun, address: str, tmp_path: Path) -> None:
    assert download(Address(address), tmp_path / "copy", "all") == 2
