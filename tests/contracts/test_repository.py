"""Rules for all files of the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Put together from pieces, so that this file doesn't hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.*-])/(?:" + "|".join(["home", "root", "work", "opt"]) + r")/\w")
REGISTRY = re.compile(
    "|".join(["pypi" + r"\.org", "python" + "hosted", "index" + "-url", r"download\.py" + "torch"])
)


def files() -> list[Path]:
    """All text files that are, or would be, part of a commit."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    paths = [REPOSITORY / name for name in names if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


@pytest.mark.parametrize(
    "pattern", [MACHINE_PATH, REGISTRY], ids=["path_of_a_machine", "host_of_a_registry"]
)
def test_no_file_names_a(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []


def test_every_decision_is_in_the_index() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    missing = [path.name for path in folder.glob("*.md") if path.name not in index + "README.md"]
    assert missing == []


def test_a_test_file_has_a_subject_in_the_package() -> None:
    """`tests/` mirrors `src/`: a folder of tests that mirrors none is named for what it holds."""
    own = {
        "browser",
        "contracts",
        "docs",
        "distributed",
        "examples",
        "faults",
        "benchmarks",
        "dialects",
    }
    package = REPOSITORY / "src" / "trackside"
    folders = {path.name for path in (REPOSITORY / "tests").iterdir() if path.is_dir()}

    assert {f for f in folders - own if f != "__pycache__" and not (package / f).exists()} == set()
