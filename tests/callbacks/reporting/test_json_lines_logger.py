from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks.reporting.json_lines_logger import JSONLinesLogger
from trackside.callbacks.reporting.row_files import RowFile
from trackside.testing import ScriptedRun, script, tiny_regression


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_record_is_a_line(tmp_path: Path) -> None:
    run = script(JSONLinesLogger(), [{"val/loss": 0.5}], directory=tmp_path)

    assert rows(tmp_path / "history.jsonl") == run.history.rows()


def test_a_record_is_on_disk_at_once(tmp_path: Path) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step({"loss": 1.0})
        assert len(rows(tmp_path / "history.jsonl")) == 1

    script(JSONLinesLogger(), story, directory=tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1, -0.0, 5e-324])
def test_each_line_is_json_by_the_standard_and_reads_back_right(
    tmp_path: Path, value: float
) -> None:
    script(JSONLinesLogger(), [{"val/loss": value}], directory=tmp_path)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    last = (tmp_path / "history.jsonl").read_text().splitlines()[-1]
    assert repr(float(json.loads(last, parse_constant=refuse)["val/loss"])) == repr(value)


def test_a_disk_that_was_full_for_a_moment_costs_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    def story(run: ScriptedRun) -> None:
        run.tell_step({"loss": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(RowFile, "write", full)
            run.tell_step({"loss": 2.0})
        run.tell_step({"loss": 3.0})

    run = script(JSONLinesLogger(), story, directory=tmp_path)

    assert rows(tmp_path / "history.jsonl") == run.history.rows()


def test_a_resumed_run_goes_on_after_the_checkpoint(tmp_path: Path) -> None:
    first = script(JSONLinesLogger(), [{"val/loss": 0.5}, {"val/loss": 0.4}], directory=tmp_path)
    resumed = ScriptedRun(JSONLinesLogger(), directory=tmp_path)
    kept = [r for r in first.history if r.step <= 4]
    for record in kept:
        resumed.history.append(record)
    resumed.progress.steps_completed = 4

    resumed.play([{"val/loss": 0.3}])

    losses = [row["val/loss"] for row in rows(tmp_path / "history.jsonl") if "val/loss" in row]
    assert losses == [0.5, 0.3]
    assert rows(tmp_path / "history.jsonl") == resumed.history.rows()


def test_a_new_fit_sets_the_older_file_aside(tmp_path: Path) -> None:
    logger = JSONLinesLogger()
    script(logger, [{"val/loss": 0.5}], directory=tmp_path)
    script(logger, [{"val/loss": 0.4}], directory=tmp_path)

    assert rows(tmp_path / "history.1.jsonl")[-1]["val/loss"] == 0.5
    assert rows(tmp_path / "history.jsonl")[-1]["val/loss"] == 0.4


def test_an_evaluation_by_itself_writes_nothing(own_folder: Path) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[JSONLinesLogger()]).evaluate(task.validation)

    assert list(own_folder.iterdir()) == []


def test_a_disk_that_fails_does_not_end_the_training(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    (tmp_path / "history.jsonl" / "in the way").touch()
    run = ScriptedRun(JSONLinesLogger(), directory=tmp_path / "history.jsonl" / "in the way")

    assert run.play([{"val/loss": 0.5}]).status == "completed"
    assert run.callbacks.failures()["json_lines_logger"] >= 1
