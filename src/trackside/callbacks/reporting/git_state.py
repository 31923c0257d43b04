"""The git repository around a folder: asked beside the setting up of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

SECONDS = 10
"""How long an answer of git is waited for."""
_PATCH = ("--no-ext-diff", "--no-textconv", "--no-color")
"""A patch that `git apply` takes, whatever programs and colours a configuration of git names."""


class GitState:
    """The commit around a folder, and the changes since: git is asked at once, and read later.

    Its two answers take tens of milliseconds, as long as a short epoch.
    """

    def __init__(self, folder: Path) -> None:
        self._asked = [_asked(folder, "rev-parse", "HEAD"), _asked(folder, "diff", *_PATCH, "HEAD")]

    def read(self) -> tuple[str | None, str]:
        """The commit, and the changes as a diff; None and nothing where git gives no answer."""
        commit, changes = map(_answer, self._asked)
        return (commit.strip(), changes or "") if commit else (None, "")

    def close(self) -> None:
        """End what still runs."""
        for process in self._asked:
            if process is not None and process.returncode is None:
                process.kill()
                process.communicate()


def _asked(folder: Path, *arguments: str) -> subprocess.Popen[str] | None:
    """Git at work; None where there is none."""
    try:
        return subprocess.Popen(
            ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return None


def _answer(process: subprocess.Popen[str] | None) -> str | None:
    """The answer of git; None where it fails, or gives none in time."""
    if process is None:
        return None
    try:
        answer, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return answer if process.returncode == 0 else None
