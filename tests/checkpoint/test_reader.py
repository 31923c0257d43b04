from __future__ import annotations

import enum
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.states import equal, rank_state, small_state
from trackside.checkpoint import (
    CheckpointWriter,
    DamagedCheckpointError,
    Saving,
    StateMismatchError,
    load,
    open_checkpoint,
    verify,
)
from trackside.checkpoint.files import digest_of
from trackside.checkpoint.manifest import MANIFEST_NAME
from trackside.checkpoint.sealed import seal, unseal
from trackside.errors import CheckpointError


class Phase(enum.Enum):
    WARM = "warm"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    writer.save({**small_state(), "phase": Phase.WARM}, Saving(step=1), rank_state=rank_state())
    return tmp_path / "step-0000000001"


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Change a file as somebody would who makes size and digest fit."""
    (folder / name).write_bytes(data)
    content, _ = unseal((folder / MANIFEST_NAME).read_bytes())
    fresh = digest_of(folder / name)
    for entry in content["files"]:
        if entry["name"] == name:
            entry.update(size_bytes=fresh.size_bytes, digest=fresh.digest)
    (folder / MANIFEST_NAME).write_bytes(seal(content))


def test_an_untouched_checkpoint_verifies(folder: Path) -> None:
    report = verify(folder)
    assert report.ok
    assert str(report) == f"{folder}: verified"
    assert report.ignored == ()


def test_a_checkpoint_may_be_moved_and_linked(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "the best one")
    (tmp_path / "best").symlink_to("the best one")
    assert equal(load(str(tmp_path / "best"))["model"], small_state()["model"])


def test_a_file_that_is_not_listed_is_named_and_ignored(folder: Path) -> None:
    (folder / "shard-00009-model-00001-of-00001.safetensors").write_bytes(b"\xff" * 100)
    (folder / "notes.txt").write_text("mine")
    report = verify(folder)
    assert report.ok
    assert len(report.ignored) == 2
    assert equal(load(folder)["model"], small_state()["model"])


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: os.truncate(path, 10), "has 10 bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes()[::-1]), "its digest doesn't match"),
        (lambda path: (path.rename(f"{path}.x"), path.symlink_to(f"{path}.x")), "state.json"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "state.json"),  # type: ignore[func-returns-value]
        (lambda path: (path.unlink(), path.mkdir()), "state.json"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(folder: Path, harm: Any, problem: str) -> None:
    harm(folder / "state.json")
    report = verify(folder)
    assert not report.ok
    assert problem in report.problems[0]
    with pytest.raises(DamagedCheckpointError, match=r"state\.json"):
        load(folder)


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert verify(tmp_path / "gone").problems == ("there is no such folder",)


@pytest.mark.parametrize("above", [".", "run"])
def test_a_folder_with_checkpoints_names_the_newest(folder: Path, above: str) -> None:
    root = folder.parent / "run" / "checkpoints"
    for name in ("step-0000000004", "step-0000000012", "step-0000000012-2", "step-broken"):
        shutil.copytree(folder, root / name)
    given = root.parent if above == "run" else root
    with pytest.raises(CheckpointError, match="holds checkpoints, and isn't one") as caught:
        open_checkpoint(given)

    assert str(root / "step-0000000012-2") in str(caught.value)
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_members_of_accepted_enums_come_back_as_members(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.state()["phase"] == "warm"
    assert checkpoint.state(enums=[Phase])["phase"] is Phase.WARM


def test_a_rank_that_the_saving_run_did_not_have_is_an_error(folder: Path) -> None:
    for rank in (1, -1):
        with pytest.raises(StateMismatchError, match="a rank below 1"):
            open_checkpoint(folder).rank_state(rank)


def test_a_tensor_without_its_values_is_an_error_before_anything_is_returned(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    state["model"]["extra"] = {"$tensor": "model.extra"}
    rewrite(folder, "state.json", json.dumps(state).encode())
    with pytest.raises(DamagedCheckpointError, match=r"model\.extra"):
        load(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"$exec": "rm"}',
        b'{"$tensor": null}',
        b'{"$tensor": []}',
        b'{"$dict": 3}',
        b'{"$ordered": []}',
        b'{"$array": ["model.weight", "O", [1]]}',
    ],
    ids=lambda data: str(data[:30]),
)
def test_a_state_that_fits_its_digest_and_not_the_format_is_damaged(
    folder: Path, data: bytes
) -> None:
    rewrite(folder, "state.json", data)
    with pytest.raises(DamagedCheckpointError, match=r"state\.json"):
        load(folder)


def test_what_was_loaded_does_not_change_with_the_file(folder: Path) -> None:
    state = load(folder)
    [shard] = folder.glob("shard-*")
    with open(shard, "r+b") as file:
        file.write(b"\0" * shard.stat().st_size)
    assert equal(state["model"], small_state()["model"])


def test_loaded_tensors_may_be_changed(folder: Path) -> None:
    weight = load(folder)["model"]["weight"]
    weight += 1
    assert equal(weight, small_state()["model"]["weight"] + torch.ones(1))
