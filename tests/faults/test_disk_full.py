"""R5: a full disk, a folder that vanishes or is closed: it costs that save and nothing else.

The older checkpoints stay whole, nothing partial has a final name, the error says path and reason,
and both the run and the next one go on.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.states import equal, small_state
from tests.faults.figures import Figure
from trackside.checkpoint import (
    CheckpointWriteError,
    CheckpointWriter,
    Saving,
    newest_valid,
    verify,
)

PROGRAM = Path(__file__).parent / "programs" / "full_disk.py"
PRIVATE_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]
BACKGROUND = pytest.mark.parametrize("background", [True, False], ids=["background", "foreground"])
ONE, TWO = "step-0000000001", "step-0000000002"


def can_mount() -> bool:
    """Whether this machine lets a test have a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    command = [*PRIVATE_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program tells, which has a full disk and a read-only one."""
    if not can_mount():
        pytest.skip("no file system can be mounted here")
    command = [*PRIVATE_MOUNTS, sys.executable, str(PROGRAM), str(tmp_path_factory.mktemp("disk"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("how", ["background", "foreground", "nothing left"])
def test_a_full_disk_leaves_the_older_checkpoint_whole(
    told: dict[str, Any], how: str, figure: Figure
) -> None:
    figure("R5", "disk full: the older checkpoint whole, nothing partial under a final name")
    assert told["first"] == {"error": None, "whole": [ONE], "temporary": []}
    assert told[how]["whole"] == [ONE]
    assert told[how]["temporary"] == []


@pytest.mark.parametrize("how", ["background", "foreground", "nothing left", "start"])
def test_a_full_disk_is_an_error_with_path_and_reason(
    told: dict[str, Any], how: str, figure: Figure
) -> None:
    figure("R5", 'disk full: the error names the path and "no space left"')
    error = told[how] if how == "start" else told[how]["error"]
    assert "no space left" in error
    assert "/checkpoints/" in error
    assert how == "start" or error.endswith(" OSError")  # the system's own, as the cause
    assert "free space on that file system" in error


def test_after_a_full_disk_the_run_resumes_and_with_room_it_saves_again(
    told: dict[str, Any], figure: Figure
) -> None:
    figure("R5", "disk full: resume works")
    assert told["resumed"] == 1.0
    assert told["room again"] == {"error": None, "whole": [ONE, "step-0000000005"], "temporary": []}


def test_a_read_only_disk_leaves_everything_as_it_is_and_says_so(told: dict[str, Any]) -> None:
    assert told["read-only"]["whole"] == [ONE, "step-0000000005"]
    assert "Read-only file system" in told["read-only"]["error"]
    assert told["at the end"]["whole"] == ["step-0000000007"]


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_state(step: int) -> dict[str, Any]:
    return {"weight": torch.full((50_000,), float(step))}


def saved_once(root: Path, background: bool) -> CheckpointWriter:
    writer = CheckpointWriter(root, "run", background=background)
    writer.save(large_state(1), Saving(step=1))
    writer.close()
    return writer


def save_second(writer: CheckpointWriter) -> None:
    writer.save(large_state(2), Saving(step=2))
    writer.close()


@BACKGROUND
def test_a_limit_for_the_size_of_files_costs_that_save_only(
    tmp_path: Path, background: bool
) -> None:
    writer = saved_once(tmp_path, background)
    with files_limited_to(100_000), pytest.raises(CheckpointWriteError) as caught:
        save_second(writer)
    assert "File too large" in str(caught.value)
    assert "ulimit -f" in str(caught.value)
    assert [path.name for path in tmp_path.glob("*step*")] == [ONE]
    assert verify(tmp_path / ONE).ok
    save_second(writer)
    assert verify(tmp_path / TWO).ok


@BACKGROUND
def test_a_folder_that_vanishes_is_not_made_again_behind_ones_back(
    tmp_path: Path, background: bool
) -> None:
    root = tmp_path / "checkpoints"
    writer = saved_once(root, background)
    root.rename(tmp_path / "moved away")
    with pytest.raises(CheckpointWriteError, match="No such file or directory") as caught:
        save_second(writer)
    assert "vanished" in str(caught.value)
    assert str(root) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["moved away"]
    assert verify(tmp_path / "moved away" / ONE).ok
    (tmp_path / "moved away").rename(root)
    save_second(writer)
    assert verify(root / TWO).ok


def test_a_folder_that_vanishes_during_the_save_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkpoints"
    writer = saved_once(root, background=False)
    fsync = os.fsync

    def vanish(file: int) -> None:
        fsync(file)
        if root.exists():
            root.rename(tmp_path / "moved away")

    monkeypatch.setattr(os, "fsync", vanish)
    with pytest.raises(CheckpointWriteError, match=str(root)):
        save_second(writer)
    assert not root.exists()
    assert verify(tmp_path / "moved away" / ONE).ok


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@BACKGROUND
def test_a_permission_that_is_taken_away_costs_that_save_only(background: bool) -> None:
    # Outside of tmp_path, which nobody else may enter.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        root = Path(folder) / "checkpoints"
        with as_nobody():
            writer = saved_once(root, background)
            root.chmod(0o500)
            with pytest.raises(CheckpointWriteError, match="Permission denied") as caught:
                save_second(writer)
            assert "permissions have changed" in str(caught.value)
            assert verify(root / ONE).ok
            with pytest.raises(CheckpointWriteError, match="Permission denied"):
                CheckpointWriter(root, "run")
            root.chmod(0o700)
            save_second(writer)
        assert verify(root / TWO).ok


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync", "rename", "replace"])
def test_whichever_call_fails_the_older_checkpoint_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    writer.save(small_state(1), Saving(step=1))
    original, count = getattr(os, call), 0

    def fails_at(failing: int) -> Any:
        def sometimes(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(5, "Input/output error")
            return original(*arguments, **options)

        return sometimes

    def save_with(failing: int) -> CheckpointWriteError | None:
        nonlocal count
        count = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fails_at(failing))
            try:
                writer.save(small_state(2), Saving(step=2))
            except CheckpointWriteError as error:
                return error
        return None

    failing = 1
    while error := save_with(failing):  # the first call of that kind, the second, ...
        assert "Input/output error" in str(error)
        selection = newest_valid(tmp_path)
        assert selection is not None
        assert selection.passed_over == ()
        step = selection.checkpoint.manifest.step
        assert equal(selection.checkpoint.state(), small_state(step))
        assert list(tmp_path.glob(".tmp-*")) == []
        failing += 1
    # ... until none is left to fail.
    assert count < failing
    assert failing > 1
