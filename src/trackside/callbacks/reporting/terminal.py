"""The terminal, shared by everything that prints: one console per process.

A live bar and lines printed above it must go through the same console, or they overwrite each
other. It is rich's own, so that a user's `rich.print` goes well with a bar too.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from textwrap import wrap
from typing import Any

import rich
from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy

from trackside.tracking.streams import LastingStream


def console() -> Console:
    """The console of this process; it writes to whatever `sys.stdout` is at that moment.

    What it writes never ends a run: see `LastingStream`.
    """
    target = rich.get_console()
    own: Any = target._file
    if not isinstance(own, LastingStream):
        stream: Any = LastingStream(lambda: sys.stdout if own is None else own)
        target.file = stream
    return target


def say(text: RenderableType, *, hang: int | None = None) -> None:
    """Print a line above the live bar, if there is one; never cut.

    Args:
        text: The line.
        hang: In a terminal, a longer line of plain text goes on behind so many spaces, between
            words. None leaves it to the terminal; files get whole lines in either case.
    """
    target = console()
    if hang is not None and isinstance(text, str) and target.is_terminal:
        text = folded(text, target.width, hang)
    target.print(text, soft_wrap=True, highlight=False, markup=False)


def columns() -> int | None:
    """Characters in a line of the terminal; None where output goes elsewhere."""
    target = console()
    return target.width if target.is_terminal and not target.is_jupyter else None


def folded(line: str, columns: int, hang: int) -> str:
    """A line in several of at most `columns`, all but the first behind `hang` spaces."""
    parts = wrap(
        line,
        columns,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts)


def shows_live(target: Console) -> bool:
    """Whether a display that redraws itself can be shown: only in a terminal."""
    # `is_terminal` alone is also true in a file when FORCE_COLOR is set, as on many CI services.
    return target.is_terminal and not target.is_dumb_terminal and target.file.isatty()


@cache
def give_workers_their_own_output() -> None:
    """Let forked loader workers print past the live bar.

    They inherit the bar's lock in whatever state it was in, and would wait for it forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_console)


def _leave_console() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, FileProxy):
            setattr(sys, name, stream.rich_proxied_file)
