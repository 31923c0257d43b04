"""Rows of the epoch table: columns that stay straight, the best value marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trackside.callbacks.reporting.figures import figure
from trackside.history import Mode, has_improved
from trackside.vocabulary.directions import direction

SEPARATOR = "  "
HANG = 17
"""Spaces before the cells of a line that goes on: the width of epoch and step."""


def folded(line: list[str], columns: int | None) -> str:
    """The cells of a line, in as many lines of at most `columns` characters as they need.

    Args:
        line: The cells, of which the first two stand on the first line only.
        columns: Width of the terminal in characters; None is not folded.
    """
    text = SEPARATOR.join(line)
    if columns is None or len(text) <= columns:
        return text
    lines = [SEPARATOR.join(line[:2])]
    for cell in line[2:]:
        if len(lines[-1]) + len(SEPARATOR) + len(cell) > columns and len(lines[-1]) > HANG:
            lines.append(" " * HANG)
        lines[-1] += SEPARATOR + cell
    return "\n".join(lines)


def way_of(name: str, modes: Mapping[str, Mode]) -> Mode | None:
    """The better direction of a metric, where it is known and worth a star.

    Never for training itself: its loss falls in most epochs, and doesn't measure the model.

    Args:
        name: The metric's full name.
        modes: Ways that names alone don't show, by name.
    """
    return None if name.startswith("train/") else modes.get(name) or direction(name)


def is_best(value: float, best: float | None, mode: Mode) -> bool:
    """Whether nothing so far beats `value`; `best` is the best so far, which may be `value`."""
    if not has_improved(value, None, mode):
        return False
    return best is None or not has_improved(best, value, mode)


class Columns:
    """The columns of a table that is printed row by row."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def widen(self, names: Sequence[str]) -> bool:
        """Take in `names`; whether there are new ones, so that a header is due."""
        new = [name for name in names if name not in self.names]
        self.names += new
        return bool(new)

    def header(self) -> list[str]:
        """The cells of the line of names."""
        cells = [name.rjust(self._width(name) - 1) + " " for name in self.names]
        return ["epoch".rjust(6), "step".rjust(9), *cells, "seconds".rjust(8)]

    def row(
        self,
        epoch: str,
        step: int,
        seconds: float,
        values: Mapping[str, float],
        is_best: Callable[[str, float], bool],
    ) -> list[str]:
        """The cells of one row; the best value so far has a star."""
        cells = []
        for name in self.names:
            value, width = values.get(name), self._width(name)
            text = "" if value is None else figure(value)
            star = "*" if value is not None and is_best(name, value) else " "
            cells.append(text.rjust(width - 1) + star)
        return [epoch.rjust(6), f"{step:,}".rjust(9), *cells, f"{seconds:8.1f}"]

    @staticmethod
    def _width(name: str) -> int:
        return max(len(name), 9) + 1
