from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trackside.checkpoint.temporary import (
    TemporaryFolder,
    clean_leftovers,
    is_temporary_name,
    remove_folder,
    temporary_name,
)


def test_a_folder_that_got_its_final_name_stays(tmp_path: Path) -> None:
    with TemporaryFolder(tmp_path, "run", "step-1") as folder:
        assert folder.path.name.startswith(".tmp-run.step-1-")
        folder.unlock()
        folder.rename(tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert list((tmp_path / "final").iterdir()) == []


def test_a_folder_without_a_final_name_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TemporaryFolder(tmp_path, "run", "x") as folder:
        (folder.path / "part").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_told_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with pytest.raises(RuntimeError) as caught, TemporaryFolder(tmp_path, "run", "x") as folder:
        monkeypatch.setattr(shutil, "rmtree", refuse)
        raise RuntimeError
    [note] = caught.value.__notes__
    assert str(folder.path) in note
    assert "Permission denied" in note


def test_leftovers_of_this_run_are_removed_and_of_another_are_not(tmp_path: Path) -> None:
    mine, other, longer = (
        tmp_path / temporary_name(run, "step-1") for run in ("run", "other", "run-2")
    )
    for path in (mine, other, longer):
        path.mkdir()
        (path / "part").write_text("half")
    ledger = tmp_path / temporary_name("run", "ledger")
    ledger.write_text("half")
    assert set(clean_leftovers(tmp_path, "run")) == {mine.name, ledger.name}
    assert set(tmp_path.iterdir()) == {other, longer}


def test_a_temporary_name_is_known_whichever_run_it_is_of() -> None:
    for run in ("run", "run-2", "0123456789abcdef"):
        assert is_temporary_name(temporary_name(run, "deleted-step-0000000001"))
    assert not is_temporary_name("step-0000000001")


def test_a_link_among_the_leftovers_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (tmp_path / temporary_name("run", "step-1")).symlink_to("precious")
    clean_leftovers(tmp_path, "run")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious" / "file").exists()


def test_what_this_process_is_writing_is_no_leftover(tmp_path: Path) -> None:
    with TemporaryFolder(tmp_path, "run", "step-1") as folder:
        assert clean_leftovers(tmp_path, "run") == ()
        assert folder.path.exists()


# Forks as a data loader does: the child outlives its parent, with everything the parent had open.
WRITER = """
import os, sys
from pathlib import Path
from trackside.checkpoint.temporary import TemporaryFolder
folder = TemporaryFolder(Path(sys.argv[1]), "run", "step-1")
child = os.fork()
if child == 0:
    os.read(0, 1)
    os._exit(0)
print(folder.path, flush=True)
os.read(int(sys.argv[2]), 1)
"""


def test_what_a_living_process_writes_is_no_leftover_until_it_is_killed(tmp_path: Path) -> None:
    parent_waits, parent_goes = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(parent_waits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[parent_waits],
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        path = Path(process.stdout.readline().strip())
        assert clean_leftovers(tmp_path, "run") == ()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert clean_leftovers(tmp_path, "run") == (path.name,)
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.stdin.close()  # ends the child
        process.stdout.close()
        process.wait()
        os.close(parent_waits)
        os.close(parent_goes)


def test_removing_what_is_gone_already_is_no_problem(tmp_path: Path) -> None:
    assert remove_folder(tmp_path / "gone") is None
