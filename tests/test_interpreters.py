"""The Python of another version is found where it works."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.interpreters import interpreter

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_stub_on_the_path_is_passed_over_for_one_of_pyenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "path" / f"python{VERSION}", "exit 127")
    real = tmp_path / "pyenv" / "versions" / f"{VERSION}.1" / "bin" / "python"
    _program(real, f'exec "{sys.executable}" "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "path"), prepend=":")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))

    assert interpreter(VERSION) == str(real)


def test_where_there_is_none_the_places_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    with pytest.raises(SystemExit, match=r"no python3\.99"):
        interpreter("3.99")
