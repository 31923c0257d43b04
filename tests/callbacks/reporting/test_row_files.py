from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks.reporting import row_files
from trackside.callbacks.reporting.row_files import RowFile


def test_a_file_begins_with_its_rows_and_goes_on(tmp_path: Path) -> None:
    with RowFile(tmp_path / "new" / "rows", ["a\n"]) as file:
        file.write(["b\n", "c\n"])

    assert (tmp_path / "new" / "rows").read_text() == "a\nb\nc\n"
    assert file.size_bytes == 6


def test_each_row_is_on_disk_before_the_next(tmp_path: Path) -> None:
    with RowFile(tmp_path / "rows") as file:
        file.write(["a\n"])

        assert (tmp_path / "rows").read_text() == "a\n"


def test_a_beginning_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("older\n")

    def rows() -> Iterator[str]:
        yield "a\n"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        RowFile(path, rows())

    assert path.read_text() == "older\n"
    assert list(tmp_path.iterdir()) == [path]


class NearlyFull:
    """A disk that takes a few bytes more, and then none."""

    def __init__(self, file: Any, left: int) -> None:
        self.file = file
        self.left = left

    def write(self, data: memoryview) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, "no space left")
        part, self.left = data[: self.left], max(0, self.left - len(data))
        return int(self.file.write(part))


def test_what_is_left_of_a_row_that_failed_is_cut_off_before_the_next(tmp_path: Path) -> None:
    with RowFile(tmp_path / "rows", ["a\n"]) as file:
        real = file._file
        file._file = NearlyFull(real, 3)
        with pytest.raises(OSError, match="no space left"):
            file.write(["b\n", "c\n"])
        file._file = real
        file.write(["d\n"])

    assert (tmp_path / "rows").read_text() == "a\nd\n"


def test_an_older_file_is_set_aside_under_the_next_free_name(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for text in ("first", "second"):
        path.write_text(text)
        row_files.set_aside(path)

    assert (tmp_path / "history.1.jsonl").read_text() == "first"
    assert (tmp_path / "history.2.jsonl").read_text() == "second"
    assert row_files.set_aside(path) is None
