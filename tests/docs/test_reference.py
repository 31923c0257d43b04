"""The committed reference pages of callbacks are those that their docstrings make."""

from __future__ import annotations

from pathlib import Path

from trackside.cli.callback_pages import COMMAND, pages

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference" / "callbacks"


def test_the_pages_of_callbacks_are_up_to_date() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    made = pages()

    differing = {n for n in committed | made if committed.get(n) != made.get(n)}
    assert not differing, f"run `{COMMAND}`; without a callback: {set(committed) - set(made)}"
