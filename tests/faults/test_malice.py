"""R10: no file of a checkpoint runs code at resume, leads out of the folder, or eats the memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.states import equal, rank_state, small_state
from tests.faults.figures import Figure
from trackside.checkpoint import (
    CheckpointWriter,
    DamagedCheckpointError,
    Retention,
    Saving,
    inspect,
    newest_valid,
    open_checkpoint,
    verify,
)
from trackside.checkpoint.files import digest_of
from trackside.checkpoint.manifest import MANIFEST_NAME
from trackside.checkpoint.sealed import seal, unseal
from trackside.checkpoint.storage import shard_file_name


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "checkpoints"
    writer = CheckpointWriter(root, "run", background=False)
    for step in (1, 2):
        writer.save(small_state(step), Saving(step=step), rank_state=rank_state())
    return root / "step-0000000002"


def fit(folder: Path, *more: str) -> None:
    """Make the manifest fit the files, as an attacker would: a digest is no signature."""
    content, _ = unseal((folder / MANIFEST_NAME).read_bytes())
    names = [entry["name"] for entry in content["files"]] + list(more)
    entries = [digest_of(folder / name) for name in names]
    content["files"] = [
        {"name": e.name, "size_bytes": e.size_bytes, "digest": e.digest} for e in entries
    ]
    (folder / MANIFEST_NAME).write_bytes(seal(content))


def use(folder: Path) -> None:
    """Everything that is done with a checkpoint, as far as it goes."""
    inspect(folder)
    try:
        checkpoint = open_checkpoint(folder)
        checkpoint.state()
        checkpoint.rank_state(0)
    except DamagedCheckpointError:
        pass
    selection = newest_valid(folder.parent)
    assert selection is not None


EXTRA = ("data.pkl", ".metadata", "__0_0.distcp", "model.pt", "optimizer.bin", "__init__.py")
OWN = (MANIFEST_NAME, "state.json", "rank-00000.json", shard_file_name(1))


@pytest.mark.parametrize("name", [*EXTRA, *OWN])
@pytest.mark.parametrize("form", ["pickle", "torch.save"])
def test_a_pickle_in_the_folder_is_refused_or_ignored(
    folder: Path, tmp_path: Path, name: str, form: str, figure: Figure
) -> None:
    figure("R10", "pickles put into a checkpoint's folder: refused or ignored, none executed")
    marker = tmp_path / "executed"
    if form == "pickle":
        (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    else:
        archive = io.BytesIO()
        torch.save(Payload(marker), archive)
        (folder / name).write_bytes(archive.getvalue())
    use(folder)
    if name in OWN[1:]:
        fit(folder)
        use(folder)
        assert not inspect(folder).verified
    assert not marker.exists()


def test_the_payload_would_do_its_work(tmp_path: Path) -> None:
    data = pickle.dumps(Payload(tmp_path / "executed"))
    assert "mkdir" in "".join(str(argument) for _, argument, _ in pickletools.genops(data))
    pickle.loads(data)
    assert (tmp_path / "executed").exists()


def test_saving_and_loading_pickle_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    figure("R10", "saving and loading pickles nothing")

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("something was pickled")

    for module, names in (
        (pickle, ("dump", "dumps", "load", "loads", "Pickler", "Unpickler")),
        (torch, ("load", "save")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    writer = CheckpointWriter(tmp_path, "run", retention=Retention(keep_last=1))
    for step in (1, 2):
        writer.save(small_state(step), Saving(step=step), rank_state=rank_state())
    writer.close()
    checkpoint = open_checkpoint(tmp_path / "step-0000000002")
    assert equal(checkpoint.state(), small_state(2))
    assert equal(checkpoint.rank_state(0), rank_state())


def tree(path: Path) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/hostname", "sub/../../outside.json", "..", "."]
)
def test_a_manifest_that_leads_out_of_the_folder_is_refused(
    folder: Path, tmp_path: Path, name: str
) -> None:
    outside = folder.parent / "outside.json"
    outside.write_text("{}")
    content, _ = unseal((folder / MANIFEST_NAME).read_bytes())
    entry = digest_of(outside)
    content["files"].append({"name": name, "size_bytes": 2, "digest": entry.digest})
    (folder / MANIFEST_NAME).write_bytes(seal(content))
    before = tree(tmp_path)
    assert MANIFEST_NAME in verify(folder).problems[0]
    use(folder)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", OWN)
def test_a_link_in_the_place_of_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    report = verify(folder)
    assert not report.ok
    assert report.problems[0].startswith(name)
    use(folder)


@pytest.mark.parametrize("name", OWN)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert not verify(folder).ok
    use(folder)


def test_retention_deletes_nothing_that_a_foreign_manifest_names(
    folder: Path, tmp_path: Path
) -> None:
    precious = folder.parent / "precious.json"
    precious.write_text("{}")
    content, _ = unseal((folder / MANIFEST_NAME).read_bytes())
    content["files"].append({"name": "../precious.json", "size_bytes": 2, "digest": "0"})
    (folder / MANIFEST_NAME).write_bytes(seal(content))
    writer = CheckpointWriter(
        folder.parent, "run", background=False, retention=Retention(keep_last=1)
    )
    writer.save(small_state(3), Saving(step=3))
    assert precious.exists()
    assert folder.exists()


@pytest.fixture
def little_memory() -> Any:
    """At most a gigabyte more than now: what asks for much more fails."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def write_shard(folder: Path, shape: list[int], offsets: list[int] | None = None) -> None:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}
    header: dict[str, Any] = {"model.weight": entry}
    if offsets is not None:
        places = {"model.weight": {"saved_offsets": offsets}}
        header["__metadata__"] = {"DCP_SHARDING_INFO": json.dumps(places)}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + b"1234"
    (folder / shard_file_name(1)).write_bytes(data)
    fit(folder)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("shape", "offsets"),
    [([2**35], None), ([1], [2**35]), ([1, 1], [2**20, 2**20]), ([2**62, 4], None)],
    ids=str,
)
def test_a_tensor_is_not_made_larger_than_its_file(
    folder: Path, shape: list[int], offsets: list[int] | None
) -> None:
    write_shard(folder, shape, offsets)
    assert verify(folder).ok  # the digests fit
    with pytest.raises(DamagedCheckpointError) as caught:
        open_checkpoint(folder).state()
    assert "allocate" not in str(caught.value)  # refused before the memory was asked for
    use(folder)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 1])
def test_a_header_is_not_read_longer_than_its_file(folder: Path, length: int) -> None:
    (folder / shard_file_name(1)).write_bytes(length.to_bytes(8, "little") + b"{}")
    fit(folder)
    with pytest.raises(DamagedCheckpointError):
        open_checkpoint(folder).state()
    use(folder)


@pytest.mark.usefixtures("little_memory")
def test_a_manifest_of_a_terabyte_is_not_read(folder: Path) -> None:
    os.truncate(folder / MANIFEST_NAME, 2**40)
    assert "more than" in verify(folder).problems[0]
    use(folder)


@pytest.mark.parametrize(
    "skeleton",
    [
        {"model": {"weight": {"$array": ["model.weight", "<f8", [2**40]]}}},
        {"$enum": ["os.system", "RUN", "rm"]},
        {"$callable": ["os", "system"]},
        {"__reduce__": ["os.system", ["rm"]]},
    ],
    ids=str,
)
def test_a_state_that_names_code_or_memory_gets_neither(folder: Path, skeleton: Any) -> None:
    (folder / "state.json").write_text(json.dumps(skeleton))
    fit(folder)
    try:
        state = open_checkpoint(folder).state()
    except DamagedCheckpointError:
        return
    assert state in ("rm", {"__reduce__": ["os.system", ["rm"]]})  # plain text, as it stands
