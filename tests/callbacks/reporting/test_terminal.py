from __future__ import annotations

import io

import pytest
from rich.console import Console

from trackside.callbacks.reporting import terminal

LINE = "  files     runs/a: checkpoints/, config.yaml, environment.json"


@pytest.mark.parametrize(("is_terminal", "lines"), [(True, 2), (False, 1)])
def test_a_long_line_goes_on_behind_its_label_in_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, lines: int
) -> None:
    target = Console(file=io.StringIO(), force_terminal=is_terminal, width=50)
    monkeypatch.setattr(terminal, "console", lambda: target)

    terminal.say(LINE, hang=12)

    said = target.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(said) == lines
    assert " ".join(part.strip() for part in said).split() == LINE.split()
    assert all(part.startswith(" " * 12) for part in said[1:])
