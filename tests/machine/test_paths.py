from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks import (
    BestCheckpoint,
    Checkpoint,
    CrashCapsule,
    OutOfMemory,
    PlotHistory,
    SavePredictions,
    Watchdog,
)
from trackside.errors import ConfigurationError
from trackside.machine.paths import file_path, folder_path, local_path

HOME = Path("/homes/somebody")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(HOME))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~", HOME),
        ("~/runs/mine", HOME / "runs/mine"),
        (Path("~/runs"), HOME / "runs"),
        (f"~{os.environ.get('USER') or 'root'}", None),
        ("runs/~mine", Path("runs/~mine")),
        ("/absolute", Path("/absolute")),
        ("a:b", Path("a:b")),
        ("2026-11-22_08:33:08/x", Path("2026-11-22_08:33:08/x")),
        ("weights-{val/loss}.safetensors", Path("weights-{val/loss}.safetensors")),
    ],
)
def test_a_home_folder_is_expanded_and_nothing_else(
    written: str | Path, meant: Path | None
) -> None:
    found = local_path(written)
    assert found == meant if meant else found.is_absolute()


@pytest.mark.parametrize(
    "written",
    [
        "s3://bucket/runs",
        "gs://bucket",
        "hdfs://host/x",
        "https://host/x",
        "file:///x",
        "abfs+ssl://x",
        Path("s3://bucket/runs"),
        "",
        "a\0b",
        "~nobody-is-called-so/x",
    ],
)
def test_what_is_no_path_on_this_machine_is_refused(written: str | Path) -> None:
    with pytest.raises(ConfigurationError, match="directory="):
        local_path(written, "directory")


def test_a_folder_to_write_into_may_be_missing_but_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for fine in (tmp_path, tmp_path / "new" / "one"):
        assert folder_path(fine, "into") == fine
    for taken in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=r"into .*: .*file is a file"):
            folder_path(taken, "into")


def test_a_file_to_write_has_its_ending_and_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "old.npz").touch()

    for fine in (tmp_path / "old.npz", tmp_path / "new" / "one.npz"):
        assert file_path(fine, "output", ".npz") == fine
    assert file_path(tmp_path / "any", "output") == tmp_path / "any"
    for name, words in (
        ("one.txt", r"must end in \.npz"),
        ("folder.npz", "is a folder"),
        ("old.npz/one.npz", "is a file"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            file_path(tmp_path / name, "output", ".npz")


def test_a_path_made_twice_is_the_same() -> None:
    once = local_path("~/runs")
    assert local_path(once) == once


@pytest.mark.parametrize(
    "kind",
    [BestCheckpoint, Checkpoint, CrashCapsule, OutOfMemory, SavePredictions, Watchdog],
)
def test_a_folder_in_the_run_may_be_a_path(kind: Any) -> None:
    assert kind(folder=Path("some/where")).folder == "some/where"


def test_a_file_in_the_run_may_be_a_path() -> None:
    assert PlotHistory(file=Path("a.png")).file == "a.png"
