"""Terminals to print to, without a terminal."""

from __future__ import annotations

import io

import pytest
import rich
from rich.console import Console


class Tty(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Tty:
    """What a terminal of 100 columns is sent."""
    file = Tty()
    monkeypatch.setattr(rich, "_console", Console(file=file, force_terminal=True, width=100))
    return file


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a file is sent, where output is piped."""
    file = io.StringIO()
    monkeypatch.setattr(rich, "_console", Console(file=file, width=80))
    return file
