"""One run at a time in a folder, whatever becomes of the former one's process."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trackside.run_folder import claim as claims
from trackside.run_folder.claim import CLAIM, ClaimedError, claim, claim_new, holder, unclaimed
from trackside.run_folder.process import Process, start_of, this_process

FOLDER = Path("run")
FORK = multiprocessing.get_context("fork")
ME = this_process()


def _write(process: Process | bytes) -> None:
    FOLDER.mkdir(exist_ok=True)
    data = process if isinstance(process, bytes) else json.dumps(process.as_dict()).encode()
    (FOLDER / CLAIM).write_bytes(data)


def _take() -> claims.Claim:
    held = claim(FOLDER)
    assert held is not None
    return held


def _in_a_child(connection: Any) -> None:
    """Claim the folder, say how that went, hold it until told to end."""
    try:
        held = _take()
    except ClaimedError as error:
        connection.send(error.received)
    else:
        connection.send("claimed")
        connection.recv()
        held.release()


@pytest.fixture
def child() -> Iterator[Any]:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_in_a_child, args=(theirs,))
    process.start()
    yield process, ours
    process.kill()
    process.join()


def _without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)


def test_a_second_run_in_this_process_is_refused_and_the_process_named() -> None:
    first = _take()
    with pytest.raises(ClaimedError, match=f"process {os.getpid()} on {socket.gethostname()}"):
        claim(FOLDER)
    first.release()


def test_another_name_of_the_folder_is_the_same_folder() -> None:
    first = _take()
    Path("link").symlink_to(FOLDER)
    with pytest.raises(ClaimedError):
        claim(Path("link"))
    first.release()


def test_a_run_of_another_process_is_refused_and_that_one_named(child: Any) -> None:
    process, connection = child
    assert connection.recv() == "claimed"
    with pytest.raises(ClaimedError, match=f"process {process.pid} on"):
        claim(FOLDER)
    found = holder(FOLDER)
    assert found is not None
    assert found.pid == process.pid


def test_a_forked_child_does_not_inherit_the_claim() -> None:
    first = _take()
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_in_a_child, args=(theirs,))
    process.start()
    said = ours.recv()
    process.join()
    first.release()
    assert said.startswith(f"process {os.getpid()} on")


def test_a_look_from_this_process_does_not_drop_the_claim() -> None:
    first = _take()
    assert holder(FOLDER) == claims._held[first._key][1]  # type: ignore[index]
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_in_a_child, args=(theirs,))
    process.start()
    said = ours.recv()
    process.join()
    first.release()
    assert said != "claimed"


def test_a_killed_process_leaves_a_folder_that_is_free(child: Any) -> None:
    process, connection = child
    connection.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (FOLDER / CLAIM).is_file()
    assert holder(FOLDER) is None
    _take().release()


def test_a_released_folder_is_free_and_empty_again() -> None:
    FOLDER.mkdir()
    for _ in range(2):
        _take().release()
    assert os.listdir(FOLDER) == []


def test_an_empty_folder_that_a_claim_made_goes_with_it() -> None:
    held = claim(Path("a/b/run"))
    assert held is not None
    held.release()
    assert os.listdir() == []


def test_a_folder_with_files_stays() -> None:
    held = _take()
    (FOLDER / "file").touch()
    held.release()
    assert os.listdir(FOLDER) == ["file"]


STALE = {
    "process gone": replace(ME, pid=2**22 + 1),  # above the largest number on Linux
    "a huge number": replace(ME, pid=2**70),
    "a number used again": replace(ME, pid=1, start="1234567"),
    "another boot": replace(ME, pid=1, boot="00000000-0000-0000-0000-000000000000"),
    "left by this process": ME,
    "another machine": replace(ME, host="elsewhere"),
}


@pytest.mark.parametrize("former", STALE.values(), ids=STALE)
def test_a_stale_claim_is_taken_over(former: Process) -> None:
    _write(former)
    _take().release()


NAMELESS = [b"", b"{", b"[]", b"null", b'{"pid": "1"}', b'{"pid": 1}', b'{"x": 1}', b"[" * 9999]


@pytest.mark.parametrize("content", NAMELESS)
def test_a_claim_that_names_nobody_is_taken_over(content: bytes) -> None:
    _write(content)
    _take().release()


def test_a_living_process_whose_lock_was_lost_still_has_its_folder() -> None:
    _write(replace(ME, pid=os.getppid(), start=start_of(os.getppid())))
    with pytest.raises(ClaimedError, match=f"process {os.getppid()} on"):
        claim(FOLDER)


def test_without_locks_a_process_of_another_machine_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without_locks(monkeypatch)
    _write(replace(ME, host="elsewhere"))
    with pytest.raises(ClaimedError, match="on elsewhere") as raised:
        claim(FOLDER)
    assert f"rm {FOLDER / CLAIM}" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("job", "is_taken_over"),
    [
        ("4711.1", True),
        ("4711.2", False),
        ("4711.3", False),
        ("4712.0", False),
        ("", False),
        ("4711", False),
        ("4711.x", False),
    ],
)
def test_without_locks_a_requeued_job_takes_over_from_its_former_life_and_from_no_other_job(
    job: str, is_taken_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_locks(monkeypatch)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    _write(replace(ME, host="elsewhere", job=job))
    if is_taken_over:
        _take().release()
    else:
        with pytest.raises(ClaimedError):
            claim(FOLDER)


def test_what_is_only_looked_at_claims_nothing() -> None:
    with unclaimed():
        assert claim(FOLDER) is None
        assert claim_new()[1] is None
    assert os.listdir() == []


@pytest.mark.parametrize("planted", ["link", "pipe", "folder"])
def test_what_was_planted_in_the_place_of_a_claim_is_neither_followed_nor_waited_for(
    planted: str, caplog: pytest.LogCaptureFixture
) -> None:
    FOLDER.mkdir()
    victim = Path("victim")
    victim.write_text("precious")
    if planted == "link":
        (FOLDER / CLAIM).symlink_to(victim.absolute())
    elif planted == "pipe":
        os.mkfifo(FOLDER / CLAIM)
    else:
        (FOLDER / CLAIM).mkdir()
    with caplog.at_level(logging.WARNING):
        assert claim(FOLDER) is None
    assert "can't be claimed" in caplog.text
    assert victim.read_text() == "precious"


def _name_of_a_new_folder(_: int) -> str:
    return str(claim_new()[0])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_runs_that_begin_in_the_same_second_get_folders_of_their_own(kind: str) -> None:
    if kind == "threads":
        with ThreadPoolExecutor(8) as pool:
            names = list(pool.map(_name_of_a_new_folder, range(24)))
    else:
        with FORK.Pool(4) as processes:
            names = processes.map(_name_of_a_new_folder, range(24), chunksize=1)
    assert len(set(names)) == 24
    assert sorted(map(str, Path("runs").iterdir())) == sorted(names)
