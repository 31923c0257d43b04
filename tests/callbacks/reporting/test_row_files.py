from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trackside.callbacks.reporting import row_files


def test_a_file_begins_with_its_lines_and_goes_on(tmp_path: Path) -> None:
    with row_files.begin(tmp_path / "new" / "rows", ["a\n"]) as file:
        file.write("b\n")

    assert (tmp_path / "new" / "rows").read_text() == "a\nb\n"


def test_each_line_is_on_disk_before_the_next(tmp_path: Path) -> None:
    with row_files.begin(tmp_path / "rows", []) as file:
        file.write("a\n")

        assert (tmp_path / "rows").read_text() == "a\n"


def test_a_beginning_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("older\n")

    def lines() -> Iterator[str]:
        yield "a\n"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        row_files.begin(path, lines())

    assert path.read_text() == "older\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_is_set_aside_under_the_next_free_name(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for text in ("first", "second"):
        path.write_text(text)
        row_files.set_aside(path)

    assert (tmp_path / "history.1.jsonl").read_text() == "first"
    assert (tmp_path / "history.2.jsonl").read_text() == "second"
    assert row_files.set_aside(path) is None
