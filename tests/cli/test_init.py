from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trackside.cli.init import project_files
from trackside.cli.main import run


@pytest.mark.slow
def test_the_tests_of_a_new_project_pass() -> None:
    assert run(["init", "mine"]) == 0
    own = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd="mine",
        check=False,
        capture_output=True,
        text=True,
    )
    assert own.returncode == 0, own.stdout


def test_a_new_project_trains(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "mine"]) == 0
    assert capsys.readouterr().out.endswith("next: cd mine && trackside train train.yaml\n")
    trained = subprocess.run(
        [sys.executable, "-m", "trackside", "train", "train.yaml", "trainer.epochs=8"],
        cwd="mine",
        check=False,
        capture_output=True,
        text=True,
    )
    assert trained.returncode == 0, trained.stderr
    accuracy = float(trained.stdout.split("test/accuracy ")[1].split()[0])
    assert accuracy > 0.9
    (folder,) = Path("mine/runs").iterdir()
    assert (folder / "report.html").is_file()


def test_nothing_that_is_there_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/parts.py").write_text("mine")
    assert run(["init", "mine"]) == 2
    assert "has parts.py already" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["parts.py"]


def test_every_file_of_the_project_is_in_it() -> None:
    assert set(project_files()) == {
        ".gitignore",
        "README.md",
        "parts.py",
        "test_parts.py",
        "train.yaml",
    }
