from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trackside.checkpoint import DamagedCheckpointError
from trackside.checkpoint.files import FileEntry
from trackside.checkpoint.manifest import (
    FORMAT_VERSION,
    LIMIT_BYTES,
    MANIFEST_NAME,
    Manifest,
    current_versions,
    folder_name,
    is_run_id,
    parse_folder_name,
    parse_manifest,
    read_manifest,
)
from trackside.checkpoint.sealed import seal, unseal

MANIFEST = Manifest(
    run_id="run",
    step=1200,
    sequence=3,
    files=(FileEntry("state.json", 10, "0" * 32),),
    progress={"epochs_completed": 2},
    metrics={"val/loss": 0.5},
)


def changed(**entries: Any) -> bytes:
    content, _ = unseal(MANIFEST.to_bytes())
    return seal({**content, **entries})


def test_a_manifest_comes_back() -> None:
    assert parse_manifest(MANIFEST.to_bytes())[0] == MANIFEST


def test_a_newer_format_says_which_one_is_read() -> None:
    with pytest.raises(ValueError, match=f"format 3, and .* reads up to {FORMAT_VERSION}"):
        parse_manifest(changed(format_version=3))


@pytest.mark.parametrize(
    "name",
    [
        "../state.json",
        "/etc/passwd.json",
        "sub/state.json",
        "..json",
        ".hidden.json",
        "a\\b.json",
        "a\n.json",
        "state.json\n",
        "a\0.json",
        "state.pkl",
        "state",
        "",
        3,
        None,
        "manifest.json",
    ],
)
def test_a_name_that_is_not_of_the_format_is_refused(name: Any) -> None:
    entry = {"name": name, "size_bytes": 1, "digest": "0"}
    with pytest.raises(ValueError, match="it lists"):
        parse_manifest(changed(files=[entry]))


@pytest.mark.parametrize(
    "entries",
    [
        {"files": None},
        {"files": [{"name": "a.json"}]},
        {"files": [{"name": "a.json", "size_bytes": "1", "digest": "0"}]},
        {"files": [{"name": "a.json", "size_bytes": 1, "digest": 0}]},
        {"files": [{"name": "a.json", "size_bytes": 1, "digest": "0"}] * 2},
        {"step": -1},
        {"step": "1"},
        {"sequence": True},
        {"world_size": 1.5},
        {"run_id": "../x"},
        {"run_id": None},
        {"progress": []},
        {"metrics": None},
        {"more": 1},
    ],
    ids=str,
)
def test_entries_that_are_not_of_the_format_are_refused(entries: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse_manifest(changed(**entries))


@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "folder", "huge", "no folder"])
def test_only_a_plain_file_is_read_as_a_manifest(tmp_path: Path, kind: str) -> None:
    path = tmp_path / MANIFEST_NAME
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(MANIFEST.to_bytes())
        path.symlink_to("elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, LIMIT_BYTES + 1)
    folder = tmp_path / "gone" if kind == "no folder" else tmp_path
    with pytest.raises(DamagedCheckpointError) as caught:
        read_manifest(folder)
    assert caught.value.path == folder
    assert MANIFEST_NAME in str(caught.value) or kind == "no folder"


def test_the_name_of_a_folder_tells_step_and_attempt() -> None:
    assert folder_name(1200) == "step-0000001200"
    for step, attempt in [(0, 1), (1200, 1), (1200, 2), (10**12, 17)]:
        assert parse_folder_name(folder_name(step, attempt)) == (step, attempt)


@pytest.mark.parametrize(
    "name",
    ["step-12", "step-0000000001.bak", ".tmp-run.step-0000000001-ab", "step-0000000001\n", "best"],
)
def test_other_names_are_no_checkpoints(name: str) -> None:
    assert parse_folder_name(name) is None


def test_an_id_of_a_run_has_no_dot_and_no_slash() -> None:
    assert is_run_id("a-B_9")
    assert not any(map(is_run_id, ["", "a.b", "a/b", "a b", "a\n", "x" * 65]))


def test_a_manifest_knows_the_sum_of_its_files_and_the_versions() -> None:
    files = (FileEntry("a.json", 10, ""), FileEntry("b.json", 5, ""))
    assert replace(MANIFEST, files=files).size_bytes == 15
    assert set(current_versions()) == {"trackside", "torch", "python"}
