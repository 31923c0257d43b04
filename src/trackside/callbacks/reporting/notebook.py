"""One line in a notebook's cell that is redrawn in place.

The line is a separate display, updated by its id. It captures nothing: what the program, or
another thread, prints meanwhile stays where it was printed. (An `ipywidgets.Output` would take in
whatever the whole kernel prints while it is open, and clear it with the next drawing.)
"""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import Any


class NotebookLine:
    """A line of text in the cell under way, with a bar in front of it."""

    def __init__(self) -> None:
        display = import_module("IPython.display")  # there is one: the code runs in a notebook
        self._handle: Any = display.display(_shown(None, ""), raw=True, display_id=True)

    def draw(self, done: float | None, text: str) -> None:
        """Replace the line.

        Args:
            done: How much is done, 0 to 1; None shows no bar.
            text: What stands behind the bar.
        """
        self._handle.update(_shown(done, text), raw=True)


def _shown(done: float | None, text: str) -> dict[str, str]:
    """The line by media type; a page that shows no HTML gets the text."""
    bar = "" if done is None else f"<progress value='{done:.4f}' max='1'></progress> "
    return {"text/plain": text, "text/html": f"<div>{bar}<code>{escape(text)}</code></div>"}
