from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint, Report
from trackside.callbacks.reporting.report_page.reading import read_run
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import on
from trackside.secret import keep_secret


def put(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)


def line(step: int, **values: Any) -> str:
    return json.dumps({"step": step, "epoch": 0, "samples": 8 * step, "seconds": 1.0, **values})


def test_a_folder_tells_how_its_run_ended(tmp_path: Path) -> None:
    put(tmp_path, "outcome.json", {"status": "stopped", "reason": "enough", "step": 7})
    put(tmp_path, "history.jsonl", line(5, loss=1.0) + "\n" + line(6, loss="NaN") + "\n")
    run = read_run(tmp_path)
    assert (run.status, run.reason, run.step, run.samples) == ("stopped", "enough", 7, 48)
    assert run.history.values("loss")[0] == 1.0
    assert math.isnan(run.history.values("loss")[1])
    assert run.problems == []


def test_a_killed_run_is_told_by_its_last_record(tmp_path: Path) -> None:
    put(tmp_path, "history.jsonl", line(5, loss=1.0) + "\n")
    run = read_run(tmp_path)
    assert (run.status, run.step, run.seconds) == ("unfinished", 5, 1.0)


WRONG: list[Any] = [None, True, 3, "text", [1], {"a": 1}, [[]], "\x1b[31m", 1e999]


@pytest.mark.parametrize("name", ["outcome.json", "environment.json", "settings.json"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_files_of_any_content_are_read(tmp_path: Path, name: str, wrong: Any) -> None:
    put(tmp_path, name, wrong)
    assert read_run(tmp_path).status == "unfinished"
    keys = ("status", "reason", "step", "seconds", "callback_seconds", "skipped_steps", "packages")
    put(tmp_path, name, dict.fromkeys(keys, wrong))
    assert read_run(tmp_path).status == "unfinished"


@pytest.mark.parametrize("name", ["outcome.json", "journal.jsonl", "history.jsonl"])
def test_a_file_that_is_none_is_said(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert [name in problem for problem in read_run(tmp_path).problems] == [True]


def test_lines_that_hold_no_record_are_counted(tmp_path: Path) -> None:
    text = "\n".join([line(1, a=1.0), "{", "[]", '{"step": "x"}', "null", line(2, a=2.0)])
    put(tmp_path, "history.jsonl", text + "\n")
    run = read_run(tmp_path)
    assert run.history.values("a") == [1.0, 2.0]
    assert run.problems == ["4 lines of history.jsonl hold no record"]


def trainer(folder: Path, *callbacks: Any) -> Trainer:
    return Trainer(
        nn.Linear(2, 1),
        loss=nn.functional.mse_loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=list(callbacks),
        settings=Settings(directory=folder),
        seed=0,
    )


DATA = [(torch.ones(4, 2), torch.zeros(4, 1))] * 3


def test_sessions_of_a_resumed_run_follow_one_another(tmp_path: Path) -> None:
    trainer(tmp_path, Checkpoint("1 epoch")).fit(DATA, epochs=2)
    trainer(tmp_path, Checkpoint("1 epoch")).fit(DATA, epochs=3, resume="auto")
    run = read_run(tmp_path)
    assert [(one.first_step, one.last_step, one.status) for one in run.sessions] == [
        (0, 6, "completed"),
        (6, 9, "completed"),
    ]
    assert run.sessions[1].resumed_from == "step-0000000006"
    assert [one.step for one in run.checkpoints][-1] == 9
    assert run.goodput is None or 0 < run.goodput <= 1


def test_without_its_file_the_records_are_those_of_the_newest_checkpoint(tmp_path: Path) -> None:
    trainer(tmp_path, Checkpoint("1 epoch")).fit(DATA, epochs=2)
    whole = read_run(tmp_path).history
    (tmp_path / "history.jsonl").unlink()
    run = read_run(tmp_path)
    assert len(run.history) > 0
    assert run.history.values("train/loss") == whole.values("train/loss")
    assert any("step-0000000006" in problem for problem in run.problems)


def test_a_warning_of_the_package_is_in_the_journal_once(tmp_path: Path) -> None:
    @on(Callback.on_step_end)
    def warns(run: Any) -> None:
        logging.getLogger("trackside").warning("the disk is nearly full")

    trainer(tmp_path, warns).fit(DATA, epochs=1)
    assert [one.text for one in read_run(tmp_path).warnings] == ["the disk is nearly full"]


def test_a_warning_is_printed_once_where_nobody_listens_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @on(Callback.on_fit_end)
    def warns(run: Any) -> None:
        logging.getLogger("trackside").warning("the disk is nearly full")

    monkeypatch.setattr(logging.getLogger("trackside"), "propagate", False)
    trainer(tmp_path, warns).fit(DATA, epochs=1)
    assert capsys.readouterr().err.count("the disk is nearly full") == 1
    monkeypatch.setattr(logging.getLogger("trackside"), "handlers", [logging.NullHandler()])
    trainer(tmp_path, warns).fit(DATA, epochs=1)
    assert "the disk is nearly full" not in capsys.readouterr().err


def test_what_was_not_committed_is_read_only_where_it_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "changes.diff", "+secret")
    assert read_run(tmp_path).changes is None
    assert read_run(tmp_path, with_changes=True).changes == "+secret"


def test_a_journal_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    trainer(tmp_path).fit(DATA, epochs=1)
    assert "has no journal" in caplog.text
    assert (tmp_path / "outcome.json").is_file()
    assert (tmp_path / "environment.json").is_file()


def test_a_secret_in_a_reason_or_a_warning_is_in_no_file(tmp_path: Path) -> None:
    keep_secret("hunter2-hunter2")

    @on(Callback.on_batch_end)
    def tells(run: Any, batch: Any, output: Any) -> None:
        logging.getLogger("trackside").warning("refused: hunter2-hunter2")
        run.skip_step("the service said hunter2-hunter2")

    trainer(tmp_path, tells, Report()).fit(DATA, epochs=1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"journal.jsonl", "outcome.json", "report.html"} <= {path.name for path in files}
    outside = [path for path in files if "checkpoints" not in path.parts]
    assert [path.name for path in outside if b"hunter2" in path.read_bytes()] == []
    assert read_run(tmp_path).skipped_in_all == 3
