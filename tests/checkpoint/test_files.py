from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import xxhash

from trackside.checkpoint.files import (
    CHUNK_BYTES,
    DigestWriter,
    digest_of,
    explain,
    flush_folder,
    open_regular,
    read_regular,
    replace_file,
    write_file,
)


def test_a_written_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    data = os.urandom(2 * CHUNK_BYTES + 17)
    entry = write_file(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == data
    assert entry == digest_of(tmp_path / "a")
    assert (entry.size_bytes, entry.digest) == (len(data), xxhash.xxh3_128_hexdigest(data))


def test_a_large_piece_keeps_the_interpreter_for_a_few_calls_of_each_four_mebibytes(
    tmp_path: Path,
) -> None:
    # The loop can't go on while the writing thread is in Python; the calls that write and digest
    # leave the interpreter to it.
    def calls_for(chunks: int) -> int:
        made: list[str] = []
        with DigestWriter(tmp_path / str(chunks)) as file:
            data = memoryview(bytes(chunks * CHUNK_BYTES))
            sys.setprofile(lambda frame, event, _: made.append(event))
            try:
                file.write(data)
            finally:
                sys.setprofile(None)
        return sum(event in ("call", "c_call") for event in made)

    assert calls_for(4) - calls_for(2) <= 2 * 12


def test_small_pieces_are_gathered_and_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    write = os.write

    def counted(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counted)
    pieces = [os.urandom(size) for size in (1, 10, 2**20, 3, 0, 2**16, *[2**15] * 200, 5)]
    with DigestWriter(tmp_path / "a") as file:
        for piece in pieces:
            file.write(piece)
        entry = file.finish()
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"".join(pieces)
    assert entry == digest_of(tmp_path / "a")
    assert len(calls) < 10


def test_a_file_is_flushed_before_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_size))
    write_file(tmp_path / "a", b"12345")
    assert flushed == [5]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:3]))
    entry = write_file(tmp_path / "a", b"1234567")
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"1234567"
    assert entry == digest_of(tmp_path / "a")


def test_an_existing_file_is_never_opened_for_writing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileExistsError):
        DigestWriter(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"


def test_a_full_disk_is_the_error_of_the_write_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_file(tmp_path / "a", b"x")
    assert caught.value.filename == str(tmp_path / "a")
    assert explain(caught.value) == f"{tmp_path / 'a'}: no space left on device"


def test_a_flush_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_file(tmp_path / "a", b"x")
    with pytest.raises(OSError, match="Input/output") as caught:
        flush_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_file_system_that_cannot_flush_folders_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", cannot)
    flush_folder(tmp_path)


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "a", b"new", tmp_path / "b")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    replace_file(tmp_path / "a", b"new", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.close(open_regular(tmp_path / "plain"))
    for name in ("link", "folder", "pipe"):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="more than 10"):
        read_regular(path, limit_bytes=10)
