"""Text laid out for a terminal: wrapped, in colours; plain whole lines without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, TextIO

from trackside.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

NARROWEST = 40


def width(at_most: int | None = None, stream: TextIO | None = None) -> int | None:
    """Columns to wrap at; None where nobody looks, but a file or another program reads.

    Args:
        at_most: Largest width of a line, however wide the terminal is.
        stream: Where it is written; None is standard output.
    """
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    from rich.console import Console

    columns = Console(file=stream).width
    return max(columns if at_most is None else min(columns, at_most), NARROWEST)


def one_line(text: str) -> str:
    """`text` as one line of plain characters: a name of a file may hold any."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def folded(text: str, columns: int | None, hang: int) -> str:
    """Lines in several of at most `columns`, where they are longer; these begin `hang` deeper."""
    if columns is None:
        return text
    lines: list[str] = []
    for line in text.splitlines():
        deeper = " " * (len(line) - len(line.lstrip()) + hang)
        lines += wrap(
            line,
            columns,
            subsequent_indent=deeper,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def show(lines: str | Iterable[Text]) -> None:
    """Print lines; without colours where `NO_COLOR` is set, or where it is not a terminal."""
    if isinstance(lines, str):
        print(lines)
        return
    from rich.console import Console

    console = Console(highlight=False)
    for line in lines:
        line.highlight_regex(r"`[^`]+`", "cyan")
        console.print(line, soft_wrap=True)


def wrapped(text: str, columns: int | None, indent: int = 0, first: int | None = None) -> list[str]:
    """A paragraph in lines of at most `columns`, each behind `indent` spaces.

    Args:
        text: Without lines that have to stay.
        columns: None makes one line of it.
        indent: Spaces before each line.
        first: Spaces before the first one; None takes `indent`.
    """
    before, others = " " * (indent if first is None else first), " " * indent
    one_line = " ".join(text.split())
    if columns is None:
        return [before + one_line]
    lines = wrap(
        one_line,
        columns,
        initial_indent=before,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [before]


def described(
    name: str, text: str, column: int, columns: int | None, style: str = ""
) -> Iterator[Text]:
    """A name, and beside it, in its own column, its description."""
    from rich.text import Text

    start = column + 2
    for number, line in enumerate(wrapped(text, columns, start)):
        said = Text(line[start:], style)
        head = Text(f"  {name:<{column}}" if number == 0 else " " * start, "cyan")
        yield Text.assemble(head, said)


def paragraphs(text: str, columns: int | None, indent: int = 0) -> Iterator[Text]:
    """Paragraphs and lists of a docstring: lines of one paragraph, or of one point, are joined."""
    from rich.text import Text

    blocks: list[list[str]] = [[]]
    for line in text.strip().splitlines():
        if not line.strip():
            blocks += [[""], []]
        elif line.startswith("- ") and blocks[-1]:
            blocks.append([line])
        else:
            blocks[-1].append(line)
    for block in blocks:
        deeper = 2 if block and block[0].startswith("- ") else 0
        for line in wrapped(" ".join(block), columns, indent + deeper, indent):
            yield Text(line.rstrip())


def plain(text: str, indent: int = 2) -> Iterator[Text]:
    """Lines that stay as they are: code."""
    from rich.text import Text

    for line in text.splitlines():
        yield Text(" " * indent + line, "yellow")
