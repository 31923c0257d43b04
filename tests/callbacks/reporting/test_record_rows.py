from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from trackside.callbacks.reporting import record_rows
from trackside.callbacks.reporting.record_rows import RecordRows
from trackside.history import Record
from trackside.run import Run


def rows(records: Iterable[Record], columns: Sequence[str]) -> Iterable[str]:
    for record in records:
        yield " ".join(str(record.values.get(name, "-")) for name in columns) + "\n"


def header(columns: Sequence[str]) -> str:
    return " ".join(columns) + "\n"


def log(run: Run, **values: float) -> None:
    run.history.append(Record(values, len(run.history), 0, 0, 0.0))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("fit", tmp_path)


def test_a_column_that_has_to_wait_is_there_at_the_end(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_rows, "FREE_BYTES", -(10**9))
    path = tmp_path / "rows"
    file = RecordRows(path, rows, header)
    log(run, a=1.0)
    file.begin(run)
    log(run, a=2.0, b=3.0)
    file.follow(run)
    assert path.read_text() == "a\n1.0\n2.0\n"

    file.close(run)

    assert path.read_text() == "a b\n1.0 -\n2.0 3.0\n"


def test_records_that_were_taken_back_are_gone_from_the_file(run: Run, tmp_path: Path) -> None:
    file = RecordRows(tmp_path / "rows", rows, header)
    log(run, a=1.0)
    before = run.history.snapshot()
    log(run, a=2.0)
    file.begin(run)
    run.history.load_state_dict(before)

    file.rewrite(run)
    file.close(run)

    assert (tmp_path / "rows").read_text() == "a\n1.0\n"


def test_a_file_whose_records_are_lost_is_set_aside(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("the only copy\n")
    run.progress.steps_completed = 100

    file = RecordRows(tmp_path / "rows", rows, header)
    file.begin(run)
    file.close(run)

    assert (tmp_path / "rows.1").read_text() == "the only copy\n"
