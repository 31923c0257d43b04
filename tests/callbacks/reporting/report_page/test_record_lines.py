from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackside.callbacks.reporting.report_page.record_lines import RecordLines


def line(step: int) -> str:
    return json.dumps({"step": step, "epoch": 0, "samples": step, "seconds": 0.0, "a": 1.0}) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "history.jsonl").write_text(line(1) + line(2))
    return tmp_path / "history.jsonl"


def test_a_later_look_reads_only_what_was_appended(file: Path) -> None:
    lines = RecordLines(file.parent)
    lines.read()
    with file.open("a") as more:
        more.write(line(3))
    assert [record.step for record in lines.read()] == [1, 2, 3]
    assert lines.bytes_read == file.stat().st_size


def test_a_line_that_is_being_written_is_read_when_it_is_whole(file: Path) -> None:
    lines = RecordLines(file.parent)
    with file.open("a") as more:
        more.write(line(3)[:20])
        more.flush()
        assert len(lines.read()) == 2
        more.write(line(3)[20:])
    assert [record.step for record in lines.read()] == [1, 2, 3]
    assert lines.problems == []


def test_another_file_in_its_place_is_read_from_its_start(file: Path) -> None:
    lines = RecordLines(file.parent)
    lines.read()
    other = file.with_name("other")
    other.write_text(line(1) + line(2) + line(5))
    other.replace(file)
    assert [record.step for record in lines.read()] == [1, 2, 5]


def test_a_file_that_got_shorter_is_read_from_its_start(file: Path) -> None:
    lines = RecordLines(file.parent)
    lines.read()
    file.write_text(line(9))
    assert [record.step for record in lines.read()] == [9]


def test_a_record_that_fits_nowhere_hides_none_after_it(file: Path) -> None:
    with file.open("a") as more:
        more.write(line(1) + line(10**30) + line(3))
    lines = RecordLines(file.parent)
    assert [record.step for record in lines.read()] == [1, 2, 3]
    assert lines.problems == ["2 lines of history.jsonl hold no record"]
