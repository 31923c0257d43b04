"""The tutorial: its commands run on the files that its reader writes."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.docs.test_code_blocks import blocks, write_module
from trackside.cli.main import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
COMMAND = re.compile(r"^\$ trackside ([a-z].*)$", re.M)


def without_numbers(text: str) -> str:
    return re.sub(r"\d+", "N", text)


def test_the_commands_run_on_the_files_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    for block in blocks(text):
        if block.language == "python" and block.options:
            write_module(block.options[0], block.code, monkeypatch)
    import_module("make_points")
    import_module("train").spirals(epochs=1).fit()

    commands = COMMAND.findall(text)
    for command in commands:
        words = command.replace(" --open", "").split()
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (command, result.output)
        if words[0] == "why":
            assert without_numbers(result.output) in without_numbers(text)

    assert {"resume", "evaluate", "predict", "runs", "why", "report"} <= {
        command.split()[0] for command in commands
    }
    assert {"test.npz", "report.html", "diary.txt"} <= {
        path.name for path in Path("runs/spirals").iterdir()
    }
