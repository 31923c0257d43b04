"""Where in a configuration something was written."""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and list indices from the top to a value: `("callbacks", "ema", "decays", 0)`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a file, or in an override on the command line."""

    source: str
    """The file as it was named, or `command line`."""
    line: int
    """Counted from 1; 0 on the command line."""
    column: int
    """Counted from 1, in characters."""
    excerpt: str
    """The whole line."""
    length: int = 1
    """How many characters are meant."""

    def __str__(self) -> str:
        if not self.line:
            return self.source
        return f"{self.source}:{self.line}:{self.column}"

    def picture(self) -> list[str]:
        """The line and, below it, a caret under what is meant."""
        cut = max(0, self.column - _WIDEST // 2) if len(self.excerpt) > _WIDEST else 0
        shown = self.excerpt[cut : cut + _WIDEST]
        before = shown[: self.column - 1 - cut]
        # A tab keeps its unknown width in the margin of the carets.
        margin = "".join("\t" if char == "\t" else " " for char in before)
        carets = "^" * max(1, min(self.length, len(shown) - len(before)))
        shown = "".join(c if c.isprintable() or c == "\t" else "\N{MIDDLE DOT}" for c in shown)
        return [f"{self.line or '':>6} | {shown}", f"{'':>6} | {margin}{carets}"]


_WIDEST = 160
"""Characters of a line that are shown."""


def dotted(path: Path) -> str:
    """A path as it is written in an override: `callbacks.ema.decays.0`."""
    return ".".join(str(key) for key in path)
