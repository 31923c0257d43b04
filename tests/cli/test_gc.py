from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackside.cli.main import run

HALF = ".tmp-0a1b2c3d-config.yaml"


@pytest.fixture
def folder() -> Path:
    folder = Path("runs/a")
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    (folder / HALF).write_text("half")
    return folder


def test_without_yes_leftovers_are_shown_and_stay(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gc", "runs"]) == 0
    assert capsys.readouterr().out == (
        f"runs/a/{HALF}: 4 B, a file that was half written when its run was killed\n"
        "4 B; nothing was removed: --yes removes them\n"
    )
    assert (folder / HALF).exists()


def test_with_yes_they_are_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "runs/a", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("removed: 4 B\n")
    assert not (folder / HALF).exists()


def test_json_lists_them_by_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "runs", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [(one["bytes"], one["removed"]) for one in told["leftovers"]] == [(4, False)]
    assert (told["run"], told["notes"]) == ("runs/a", [])
