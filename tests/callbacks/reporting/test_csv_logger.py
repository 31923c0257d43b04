from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks.reporting import record_rows
from trackside.callbacks.reporting.csv_logger import CSVLogger
from trackside.callbacks.reporting.row_files import RowFile
from trackside.lifecycle.hooks import Callback
from trackside.records import Record
from trackside.testing import ScriptedRun, script


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_each_record_is_a_row(tmp_path: Path) -> None:
    script(CSVLogger(), lambda run: run.tell_step({"loss": 0.5}), directory=tmp_path)

    assert (tmp_path / "history.csv").read_text() == (
        "step,epoch,samples,seconds,train_recent/loss\n1,0,8,1.000000,0.5\n"
    )


def test_tokens_are_a_column_from_the_record_that_counts_them(tmp_path: Path) -> None:
    def story(run: ScriptedRun) -> None:
        for step, tokens in enumerate([None, 640, 1280], 1):
            record = Record({"val/loss": 0.5}, step, 0, 8 * step, 1.0, tokens)
            run.history.append(record)
            run.fire(Callback.on_log, record)

    script(CSVLogger(), story, directory=tmp_path)

    assert (tmp_path / "history.csv").read_text() == (
        "step,epoch,samples,seconds,tokens,val/loss\n"
        "1,0,8,1.000000,,0.5\n"
        "2,0,16,1.000000,640,0.5\n"
        "3,0,24,1.000000,1280,0.5\n"
    )


def test_a_new_value_adds_a_column_to_all_rows(tmp_path: Path) -> None:
    script(CSVLogger(), [{"val/loss": 0.5}, {"val/loss": 0.4, "val/f1": 0.9}], directory=tmp_path)

    written = rows(tmp_path / "history.csv")
    found = [(row["val/loss"], row["val/f1"]) for row in written if row["val/loss"]]
    assert found == [("0.5", ""), ("0.4", "0.9")]


def test_the_file_is_whole_after_each_record(tmp_path: Path) -> None:
    def story(run: ScriptedRun) -> None:
        for number in range(4):
            run.tell_step({"loss": 1.0, f"extra{number // 2}": 2.0})
            assert len(rows(tmp_path / "history.csv")) == number + 1

    script(CSVLogger(), story, directory=tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]


def test_a_resumed_run_goes_on_after_the_checkpoint(tmp_path: Path) -> None:
    first = script(CSVLogger(), [{"val/loss": 0.5}, {"val/loss": 0.4}], directory=tmp_path)
    resumed = ScriptedRun(CSVLogger(), directory=tmp_path)
    for record in [r for r in first.history if r.step <= 4]:
        resumed.history.append(record)
    resumed.progress.steps_completed = 4

    resumed.play([{"val/loss": 0.3}])

    losses = [row["val/loss"] for row in rows(tmp_path / "history.csv")]
    assert [loss for loss in losses if loss] == ["0.5", "0.3"]


def test_a_new_fit_sets_the_older_file_aside(tmp_path: Path) -> None:
    for loss in (0.5, 0.4):
        script(CSVLogger("m.csv"), [{"val/loss": loss}], directory=tmp_path)

    assert rows(tmp_path / "m.1.csv")[-1]["val/loss"] == "0.5"


def test_after_a_failed_write_the_next_record_makes_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step({"loss": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(RowFile, "write", full)
            run.tell_step({"loss": 2.0})
        run.tell_step({"loss": 3.0})

    run = script(CSVLogger(), story, directory=tmp_path)

    assert run.callbacks.failures() == {"csv_logger": 1}
    assert losses(tmp_path / "history.csv") == ["1.0", "2.0", "3.0"]


def test_what_a_full_disk_kept_from_being_written_is_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def story(run: ScriptedRun) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(RowFile, "write", full)
            for step in range(CSVLogger.switch_off_after + 2):  # it is switched off
                run.tell_step({"loss": float(step)})

    script(CSVLogger(), story, directory=tmp_path)

    assert losses(tmp_path / "history.csv") == ["0.0", "1.0", "2.0", "3.0", "4.0"]


def full(*_: Any) -> None:
    raise OSError("no space left")


def losses(path: Path) -> list[str]:
    return [row["train_recent/loss"] for row in rows(path)]


def test_a_column_that_is_new_in_every_row_does_not_write_the_file_again_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = RowFile.write

    def count(self: RowFile, lines: Iterable[str]) -> None:
        before = self.size_bytes
        real(self, lines)
        written.append(self.size_bytes - before)

    monkeypatch.setattr(RowFile, "write", count)
    monkeypatch.setattr(record_rows, "FREE_BYTES", 1000)

    def story(run: ScriptedRun) -> None:
        for number in range(200):
            run.tell_step({f"extra{number}": 1.0})

    script(CSVLogger(), story, directory=tmp_path)

    size = (tmp_path / "history.csv").stat().st_size
    found = rows(tmp_path / "history.csv")
    assert len(found) == 200
    assert all(row[f"train_recent/extra{number}"] == "1.0" for number, row in enumerate(found))
    assert sum(written) < 5 * size  # each time a new one came, it was 60 times
