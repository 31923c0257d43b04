from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackside.cli.main import run


def failed(folder: str) -> None:
    Path(folder).mkdir(parents=True)
    Path(folder, "settings.json").write_text("{}")
    outcome = {"status": "failed", "reason": "ValueError: a \x1b[31mred label", "step": 7}
    Path(folder, "outcome.json").write_text(json.dumps(outcome))


def test_the_cause_comes_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    failed("runs/a")
    assert run(["why", "runs/a"]) == 0
    assert capsys.readouterr().out == (
        "runs/a: failed at step 7\n"
        "why it ended:\n"
        "  - it failed: ValueError: a \\x1b[31mred label\n"
        "    seen:   at step 7\n"
        "    to fix: the traceback stands in the log of the process\n"
    )


def test_json_has_a_list_of_findings_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    failed("runs/a")
    failed("runs/b")
    assert run(["why", "runs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in told] == ["runs/a", "runs/b"]
    assert [finding["subject"] for finding in told[0]["findings"]] == ["failed"]


def test_a_folder_without_runs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", "nothing"]) == 2
    assert "there is no run in nothing" in capsys.readouterr().err
