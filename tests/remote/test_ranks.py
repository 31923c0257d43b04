"""Several ranks: each sends what it wrote; rank 0 writes the ledger, and waits for nobody long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.remote.faulty import FaultyFileSystem
from trackside.checkpoint.files import write_file
from trackside.checkpoint.manifest import MANIFEST_NAME, Manifest
from trackside.checkpoint.retention import Retention
from trackside.checkpoint.storage import shard_file_name
from trackside.remote import uploads
from trackside.remote.address import Address
from trackside.remote.claim import RemoteClaim
from trackside.remote.contents import Contents
from trackside.remote.fetching import read_contents
from trackside.remote.mirror import Mirror
from trackside.remote.patience import Patience
from trackside.remote.store import Store

OWN_SHARD, OTHER_SHARD = shard_file_name(1), shard_file_name(2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of two ranks."""
    folder = tmp_path / "checkpoints" / "step-0000000002"
    folder.mkdir(parents=True)
    files = tuple(
        write_file(folder / name, name.encode())
        for name in ("state.json", "rank-00000.json", "rank-00001.json", OWN_SHARD, OTHER_SHARD)
    )
    manifest = Manifest("run", 2, 1, files, world_size=2)
    write_file(folder / MANIFEST_NAME, manifest.to_bytes())
    return folder


def uploader(path: Path, rank: int) -> uploads.Uploads:
    store = Store(Address("faulty://bucket/run"))
    claim = None
    if rank == 0:
        claim = RemoteClaim(store, "abcdef01", "run")
        claim.acquire(Patience("", "", 1.0))
    mirror = Mirror(path.parent.parent, path.parent, rank)
    made = uploads.Uploads(
        store, "abcdef01", mirror, "run", Retention(), Contents(), claim, ranks=2
    )
    held = mirror.hold(path, "run")
    assert held is not None
    made.put(held)
    return made


def senders() -> dict[str, str]:
    """Which rank sent each file of the checkpoint."""
    contents = read_contents(Store(Address("faulty://bucket/run")), Patience("", "", 1.0))
    files = contents.checkpoints["step-0000000002"].files
    return {name: one.parts[0].name[-1] for name, one in files.items()}


def test_each_rank_sends_what_it_wrote(faulty: type[FaultyFileSystem], path: Path) -> None:
    both = [uploader(path, rank) for rank in (0, 1)]
    assert both[1].close(10.0, lambda files, size: None)
    assert both[0].close(10.0, lambda files, size: None)
    found = senders()
    assert {name for name, rank in found.items() if rank == "1"} == {OTHER_SHARD, "rank-00001.json"}
    assert found.keys() > {OWN_SHARD, "state.json", "rank-00000.json", MANIFEST_NAME}


def test_a_rank_that_sends_nothing_holds_up_nobody(
    faulty: type[FaultyFileSystem], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "OTHERS_SECONDS", 0.01)
    monkeypatch.setattr(uploads, "OTHERS_CLOSING_SECONDS", 0.01)
    assert uploader(path, 0).close(10.0, lambda files, size: None)
    assert set(senders().values()) == {"0"}
