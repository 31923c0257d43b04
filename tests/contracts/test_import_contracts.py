"""The import contracts hold, and each of them can be broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract["name"] for contract in SETTINGS["contracts"]}

# What breaks which contract: the file that gets the line, and the line.
VIOLATIONS = {
    "layers": ("progress.py", "import trackside.lifecycle.dispatch"),
    "no-cycles": ("errors.py", "import trackside.lifecycle.collection"),
    "torch-free": ("schedule/every.py", "import torch"),
    "front-ends": ("history.py", "import rich"),
    "no-trainer-below": ("lifecycle/hooks.py", "import trackside.trainer.trainer"),
    "callbacks-see-a-run": ("callbacks/planted/one.py", "import trackside.loop.evaluate"),
    "callback-folders": ("callbacks/planted/one.py", "import trackside.callbacks.other.two"),
    "public-names": ("run.py", "from trackside import Callback"),
    "optional-packages": ("data/source.py", "import wandb"),
}


def lint(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the linter on the package in `source`, which is found before the installed one."""
    return subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            "--no-logo",
            "--no-cache",
            "--config",
            REPOSITORY / "pyproject.toml",
            *arguments,
        ],
        cwd=source,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_with(folder: Path, violations: list[tuple[str, str]]) -> Path:
    """A copy of `src` in `folder` whose files end with the lines given."""
    source = folder / "src"
    shutil.copytree(REPOSITORY / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    for name, line in violations:
        planted = source / "trackside" / name
        planted.parent.mkdir(parents=True, exist_ok=True)
        for folder in planted.relative_to(source).parents[:-1]:
            (source / folder / "__init__.py").touch()
        with planted.open("a") as file:
            file.write(f"\n{line}\n")
    return source


def test_the_contracts_hold() -> None:
    result = lint(REPOSITORY / "src")

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_has_a_violation_that_is_tried() -> None:
    assert set(VIOLATIONS) == set(CONTRACTS)


@pytest.mark.parametrize("contract", sorted(VIOLATIONS))
def test_a_contract_breaks_when_it_is_violated(contract: str, tmp_path: Path) -> None:
    planted = [VIOLATIONS[contract]]
    if contract == "callback-folders":
        planted.append(("callbacks/other/two.py", ""))
    source = copy_with(tmp_path, planted)

    result = lint(source, "--contract", contract)

    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{CONTRACTS[contract]} BROKEN" in result.stdout


def test_torch_is_found_behind_another_module(tmp_path: Path) -> None:
    source = copy_with(
        tmp_path,
        [("schedule/every.py", "import trackside.somewhere"), ("somewhere.py", "import torch")],
    )

    result = lint(source, "--contract", "torch-free")

    assert f"{CONTRACTS['torch-free']} BROKEN" in result.stdout


def test_a_module_without_a_place_in_the_layers_is_refused(tmp_path: Path) -> None:
    source = copy_with(tmp_path, [("nowhere.py", "")])

    result = lint(source, "--contract", "layers")

    assert result.returncode == 1
    assert "nowhere" in result.stdout


def test_a_type_only_import_may_point_up(tmp_path: Path) -> None:
    line = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trackside.lifecycle"
    source = copy_with(tmp_path, [("errors.py", line)])

    result = lint(source, "--contract", "layers")

    assert result.returncode == 0, result.stdout + result.stderr
