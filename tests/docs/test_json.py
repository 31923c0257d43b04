"""The page on output for programs names every command, and the keys that it prints."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.config.files import good, write
from trackside.checkpoint import Inspection
from trackside.cli.main import app, run
from trackside.config.experiment.inbox import Reply
from trackside.config.experiment.kept import KeptRun
from trackside.config.experiment.plan import Plan
from trackside.proof.late_callbacks import Observed
from trackside.proof.verification import Verification

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.M)
ROWS = {name: keys for name, _, keys in ROW.findall(PAGE.read_text(encoding="utf-8"))}
COMMANDS = {one.callback.__name__: one.callback for one in app.registered_commands if one.callback}


def documented(command: str) -> set[str]:
    return set(re.findall(r"`([\w ]+)`", ROWS[command]))


def test_every_command_has_its_row() -> None:
    assert set(ROWS) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"schema"}))
def test_every_command_prints_json_where_asked(command: str) -> None:
    assert "as_json" in inspect.signature(COMMANDS[command]).parameters


@pytest.mark.parametrize(
    ("command", "kind", "more"),
    [
        ("plan", Plan, set()),
        ("runs", KeptRun, set()),
        ("verify", Verification, {"ok"}),
        ("observe", Observed, set()),
        ("ask", Reply, set()),
    ],
)
def test_the_keys_of_a_row_are_those_of_what_is_printed(
    command: str, kind: Any, more: set[str]
) -> None:
    assert documented(command) == {one.name for one in fields(kind)} | more


def test_the_keys_of_a_checkpoint_that_is_inspected_are_named() -> None:
    assert documented("inspect") >= {one.name for one in fields(Inspection)} | {"verified"}


def test_a_run_is_told_in_the_keys_that_the_page_names(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> Any:
        capsys.readouterr()
        assert run([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    trained = told("train", write(good()), "trainer.directory=runs/a")
    assert set(trained) <= documented("train")
    (Path("runs/a") / ".tmp-0a1b2c3d-x").write_text("half")
    (found,) = told("gc", "runs/a")
    assert {*found, *found["leftovers"][0]} == documented("gc")
    (reasons,) = told("why", "runs/a")
    assert set(reasons) <= documented("why")
    report = told("report", "runs/a")
    assert {*report, *report["runs"][0]} == documented("report")
    made = told("init", "new")
    assert set(made) == documented("init")
    assert all((Path(made["folder"]) / name).is_file() for name in made["files"])
