"""Build the package's wheel: the same bytes from the same files, whoever builds it, where and when.

    python -m tests.wheels dist    # into this folder; `make wheel`

Built are the files that git knows, in a copy: what an earlier build has left is not taken along.
Needs setuptools 77 or later, and no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")
# The backend of `pyproject.toml`, as pip would call it.
BUILD = """
import os, sys
from setuptools import build_meta
os.umask(0o022)  # modes of files stand in the wheel
build_meta.build_wheel(sys.argv[1])
"""


def files() -> list[str]:
    """The files of which a wheel is built, by their paths in the repository."""
    names = _git("ls-files", "-z", "--", *SOURCES).split("\0")[:-1]
    return [name for name in names if (REPOSITORY / name).exists()]  # or it was removed since


def copy_sources(folder: Path) -> None:
    """Copy them to a new folder, readable for everybody, as in every copy of the repository."""
    for name in files():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, copy)
        copy.chmod(0o644)


def build(folder: Path) -> Path:
    """The wheel, written to a folder.

    The times in it are that of the last commit, or `SOURCE_DATE_EPOCH` of the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as temporary:
        sources, built = Path(temporary, "sources"), Path(temporary, "built")
        copy_sources(sources)
        subprocess.run(
            [sys.executable, "-c", BUILD, str(built)],
            cwd=sources,
            env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        [wheel] = built.glob("*.whl")
        return Path(shutil.copy(wheel, folder))


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
