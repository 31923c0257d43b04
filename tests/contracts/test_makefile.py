"""`make` installs once, propagates failure, and says what is missing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in {"PYTHON", "MAKEFLAGS", "MAKELEVEL"}}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/env", "make", "-C", str(REPOSITORY), "--no-print-directory", *arguments],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def environment_of(folder: Path, *, installed: bool) -> str:
    """The argument that lets make use an environment in `folder`, as old as an installation."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    if installed:
        for stamp in (".installed-for-demo", ".installed-for-test"):
            (folder / stamp).touch()
    return f"VENV={folder}"


def test_without_a_goal_it_lists_the_targets() -> None:
    result = make()

    assert result.returncode == 0
    for target in ("demo", "test", "check", "bench", "faults"):
        assert re.search(rf"^  {target} +\w", result.stdout, re.M), result.stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_a_second_call_installs_nothing(target: str, tmp_path: Path) -> None:
    result = make("-n", target, environment_of(tmp_path / "venv", installed=True))

    assert result.returncode == 0, result.stderr
    assert "pip install" not in result.stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_required_installs_again(changed: str, tmp_path: Path) -> None:
    environment = environment_of(tmp_path / "venv", installed=True)

    result = make("-n", "-W", changed, "demo", environment)

    assert "pip install" in result.stdout


def test_the_demo_installs_no_test_tools(tmp_path: Path) -> None:
    result = make("-n", "demo", environment_of(tmp_path / "venv", installed=False))

    assert '-e ".[examples]"' in result.stdout
    assert ".[test]" not in result.stdout


def test_an_interpreter_that_does_not_work_is_named(tmp_path: Path) -> None:
    result = make("demo", f"VENV={tmp_path / 'venv'}", "PYTHON=/no/such/python")

    assert result.returncode != 0
    assert "PYTHON=/no/such/python" in result.stderr
    assert "Python 3.11 or later" in result.stderr


def test_a_failing_check_fails_the_call(tmp_path: Path) -> None:
    environment = environment_of(tmp_path / "venv", installed=True)
    linter = tmp_path / "venv" / "bin" / "ruff"
    linter.write_text("#!/bin/sh\nexit 3\n")
    linter.chmod(0o755)

    result = make("test", environment)

    assert result.returncode != 0
    assert "-m pytest" not in result.stdout


def test_what_ci_runs_is_what_a_developer_runs() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()

    assert "set -euo pipefail" in script
    assert script.splitlines()[-1] == "make test"


@pytest.mark.parametrize(("target", "parts"), [("test", 2), ("faults", 3)])
@pytest.mark.parametrize("failing", [(), (1,), (2,), (1, 2)])
def test_a_part_that_fails_hides_not_the_others(
    target: str, parts: int, failing: tuple[int, ...], tmp_path: Path
) -> None:
    environment = environment_of(tmp_path / "venv", installed=True)
    for tool in ("python", "ruff", "mypy", "lint-imports"):
        pretended = tmp_path / "venv" / "bin" / tool
        pretended.write_text(
            "#!/bin/sh\n"
            f'[ "${{0##*/}}" = python ] || exit 0\n'
            f"echo part >> {tmp_path}/parts\n"
            f'case " {" ".join(map(str, failing))} " in\n'
            f'  *" $(wc -l < {tmp_path}/parts) "*) exit 1;;\n'
            "esac\n"
        )
        pretended.chmod(0o755)

    result = make(target, environment, f"TEST_STAMP={tmp_path}/venv/.installed-for-test")

    assert (tmp_path / "parts").read_text().count("part") == parts, result.stderr
    assert (result.returncode != 0) is bool(failing)
