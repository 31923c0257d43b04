from __future__ import annotations

import csv
from pathlib import Path

from trackside.callbacks.reporting.csv_logger import CSVLogger
from trackside.testing import ScriptedRun, script


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_each_record_is_a_row(tmp_path: Path) -> None:
    script(CSVLogger(), lambda run: run.tell_step({"loss": 0.5}), directory=tmp_path)

    assert (tmp_path / "history.csv").read_text() == (
        "step,epoch,samples,seconds,train_recent/loss\n1,0,8,1.000000,0.5\n"
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


def test_after_a_failed_write_the_next_record_makes_the_file_whole(tmp_path: Path) -> None:
    logger = CSVLogger()

    def story(run: ScriptedRun) -> None:
        run.tell_step({"loss": 1.0})
        assert logger._open is not None
        logger._open.close()  # as a full disk does: the next write raises
        run.tell_step({"loss": 2.0})
        logger._open = None
        run.tell_step({"loss": 3.0})

    run = script(logger, story, directory=tmp_path)

    assert run.callbacks.failures() == {"csv_logger": 1}
    assert [row["train_recent/loss"] for row in rows(tmp_path / "history.csv")] == [
        "1.0",
        "2.0",
        "3.0",
    ]
