"""One file of records for all checkpoints of a run."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from trackside.checkpoint import (
    CheckpointWriter,
    Saving,
    newest_valid,
    open_checkpoint,
    verify,
)
from trackside.checkpoint.errors import UnsavableStateError
from trackside.checkpoint.record_file import RECORDS_NAME
from trackside.errors import CheckpointError
from trackside.history import History, Record


def grow(history: History, count: int) -> None:
    start = len(history)
    for step in range(start, start + count):
        history.append(Record({"train/loss": 1 / (step + 1), "lr/0": 0.1}, step, 0, 8 * step, 0.5))


def save(writer: CheckpointWriter, history: History, step: int) -> Path:
    writer.save({"step": step, "history": history.snapshot()}, Saving(step=step))
    [saved] = writer.poll()
    return saved.path


def restored(path: Path) -> History:
    history = History()
    history.load_state_dict(open_checkpoint(path).state()["history"])
    return history


@pytest.fixture
def writer(tmp_path: Path) -> CheckpointWriter:
    return CheckpointWriter(tmp_path / "checkpoints", "run", background=False)


def test_each_checkpoint_has_the_records_that_there_were(writer: CheckpointWriter) -> None:
    history, paths = History(), []
    for step in range(4):
        paths.append(save(writer, history, step))
        grow(history, 3)
    assert [len(restored(path)) for path in paths] == [0, 3, 6, 9]
    assert list(restored(paths[-1])) == list(history)[:9]


def test_a_copy_of_a_checkpoint_elsewhere_has_its_records(
    writer: CheckpointWriter, tmp_path: Path
) -> None:
    history = History()
    grow(history, 5)
    path = save(writer, history, 1)
    grow(history, 5)
    save(writer, history, 2)
    copy = tmp_path / "elsewhere"
    shutil.copytree(path, copy)
    shutil.rmtree(tmp_path / "checkpoints")
    assert verify(copy).ok
    assert list(restored(copy)) == list(history)[:5]


def test_a_save_writes_only_the_records_that_are_new(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = os.write

    def count(file: int, data: Any) -> int:
        written.append(len(data))
        return real(file, data)

    def bytes_of_a_save(history: History, step: int) -> int:
        grow(history, 10)
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", count)
            save(writer, history, step)
        return sum(written)

    history = History()
    grow(history, 10)
    save(writer, history, 1)
    with_few = bytes_of_a_save(history, 2)
    grow(history, 20_000)
    save(writer, history, 3)
    assert bytes_of_a_save(history, 4) < with_few + 2000  # the ledger lists more


def test_a_snapshot_of_a_long_history_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    from trackside.checkpoint import splitting

    looked: list[object] = []
    plain = splitting._is_plain

    def look(value: object) -> bool:
        looked.append(value)
        return plain(value)

    history = History()
    grow(history, 5000)
    monkeypatch.setattr(splitting, "_is_plain", look)
    splitting.split({"history": history.snapshot()})
    assert len(looked) < 10


def test_a_history_that_was_put_back_begins_a_file_of_its_own(writer: CheckpointWriter) -> None:
    history = History()
    grow(history, 6)
    early = save(writer, history, 1)
    grow(history, 6)
    late = save(writer, history, 2)
    kept = (late / RECORDS_NAME).read_bytes()

    history.load_state_dict(open_checkpoint(early).state()["history"])
    grow(history, 2)
    again = save(writer, history, 3)

    assert len(restored(again)) == 8
    assert (late / RECORDS_NAME).read_bytes() == kept
    assert verify(early).ok
    assert verify(late).ok


def test_what_a_killed_save_has_appended_is_no_part_of_a_checkpoint(
    writer: CheckpointWriter,
) -> None:
    history = History()
    grow(history, 4)
    path = save(writer, history, 1)
    with open(path / RECORDS_NAME, "ab") as file:
        file.write(b'{"records": 1000, "na')
    assert verify(path).ok
    assert list(restored(path)) == list(history)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOENT])
def test_where_files_cannot_be_linked_each_checkpoint_gets_a_copy(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    history = History()
    monkeypatch.setattr(os, "link", refuse)
    paths = []
    for step in range(3):
        grow(history, 3)
        paths.append(save(writer, history, step))
    assert [len(restored(path)) for path in paths] == [3, 6, 9]
    assert len({(path / RECORDS_NAME).stat().st_ino for path in paths}) == 3


def test_a_file_with_as_many_links_as_there_can_be_is_followed_by_another(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: dict[int, int] = {}
    real = os.link

    def link(source: Path, target: Path) -> None:
        number = os.stat(source).st_ino
        links[number] = links.get(number, 0) + 1
        if links[number] > 2:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        real(source, target)

    history, paths = History(), []
    monkeypatch.setattr(os, "link", link)
    for step in range(5):
        grow(history, 3)
        paths.append(save(writer, history, step))
    assert [len(restored(path)) for path in paths] == [3, 6, 9, 12, 15]
    assert len({(path / RECORDS_NAME).stat().st_ino for path in paths}) == 3


def test_after_a_full_disk_the_next_save_has_all_records(
    writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    grow(history, 3)
    first = save(writer, history, 1)
    grow(history, 3)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="no space left"):
        patch.setattr(os, "write", full)
        save(writer, history, 2)
    grow(history, 3)
    assert len(restored(save(writer, history, 3))) == 9
    assert len(restored(first)) == 3


def test_the_file_has_no_name_of_its_own_when_the_writer_ends(writer: CheckpointWriter) -> None:
    history = History()
    grow(history, 3)
    save(writer, history, 1)
    assert list(writer.root.glob(".tmp-*"))
    writer.end()
    assert not list(writer.root.glob(".tmp-*"))
    assert len(restored(writer.root / "step-0000000001")) == 3


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    history = History()
    grow(history, 3)
    path = save(writer, history, 1)
    CheckpointWriter(tmp_path, "run", background=False)
    assert not list(tmp_path.glob(".tmp-*"))
    grow(history, 3)
    assert len(restored(save(writer, history, 2))) == 6  # copied: its name is gone
    assert len(restored(path)) == 3


def harm(path: Path) -> None:
    data = bytearray((path / RECORDS_NAME).read_bytes())
    data[-1] ^= 1
    (path / RECORDS_NAME).write_bytes(data)


def test_a_checkpoint_that_lacks_its_records_only_opens_and_says_so(
    writer: CheckpointWriter,
) -> None:
    history = History()
    grow(history, 3)
    path = save(writer, history, 7)
    (path / RECORDS_NAME).unlink()
    assert not verify(path).ok
    checkpoint = open_checkpoint(path)
    assert checkpoint.lacks == (f"{RECORDS_NAME} is missing",)
    assert checkpoint.state()["step"] == 7
    assert len(restored(path)) == 0


def test_one_that_is_whole_is_taken_before_one_that_lacks_its_records(
    writer: CheckpointWriter,
) -> None:
    history = History()
    paths = []
    for step in (1, 2):
        grow(history, 3)
        paths.append(save(writer, history, step))
    os.unlink(paths[1] / RECORDS_NAME)
    found = newest_valid(writer.root)
    assert found is not None
    assert found.checkpoint.path == paths[0]


def test_damage_to_the_file_that_all_share_does_not_lose_the_weights(
    writer: CheckpointWriter,
) -> None:
    history = History()
    grow(history, 3)
    paths = [save(writer, history, step) for step in (1, 2)]
    harm(paths[0])
    found = newest_valid(writer.root)
    assert found is not None
    assert found.checkpoint.path == paths[1]
    assert len(found.checkpoint.lacks) == 1


@pytest.mark.parametrize("state", [{"history": 1}, None])
def test_records_of_one_rank_alone_are_refused(writer: CheckpointWriter, state: Any) -> None:
    with pytest.raises(UnsavableStateError, match="all ranks share"):
        writer.save(state, Saving(step=1), rank_state={"own": History().snapshot()})


def test_a_second_history_in_a_state_is_refused_by_its_place(writer: CheckpointWriter) -> None:
    state = {"history": History().snapshot(), "callbacks": {"mine": History().snapshot()}}
    with pytest.raises(UnsavableStateError, match=r"callbacks\.mine: a second history"):
        writer.save(state, Saving(step=1))
