"""git is asked in the background; whatever it does, the run goes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from trackside.callbacks.reporting import git_state
from trackside.callbacks.reporting.git_state import GitState


def repository(folder: Path) -> str:
    """A repository with one commit, and a file that was changed since; the commit."""

    def git(*arguments: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", *names, "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (folder / "kept.txt").write_text("one\n")
    git("add", "kept.txt")
    git("commit", "-q", "-m", "first")
    (folder / "kept.txt").write_text("two\n")
    return git("rev-parse", "HEAD")


def fake_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """A `git` that does something else."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_the_commit_and_the_changes_since_are_read(tmp_path: Path) -> None:
    commit = repository(tmp_path)
    found, changes = GitState(tmp_path).read()
    assert found == commit
    assert "-one\n+two" in changes


def test_outside_of_a_repository_there_is_neither(tmp_path: Path) -> None:
    assert GitState(tmp_path).read() == (None, "")


def test_without_git_there_is_neither(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    state = GitState(tmp_path)
    assert state.read() == (None, "")
    state.close()


def test_an_answer_that_does_not_come_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_git(monkeypatch, tmp_path, "exec tail -f /dev/null")
    monkeypatch.setattr(git_state, "SECONDS", 0.01)
    assert GitState(tmp_path).read() == (None, "")


def test_processes_that_nobody_reads_are_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_git(monkeypatch, tmp_path, 'echo $$ >> "$2/started"; exec tail -f /dev/null')
    state = GitState(tmp_path)
    started = [process.pid for process in state._asked if process is not None]
    state.close()
    for number in started:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
