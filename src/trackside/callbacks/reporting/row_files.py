"""Files that grow by rows: begun whole, so that a killed run leaves no half of one behind."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO


def begin(path: Path, lines: Iterable[str]) -> TextIO:
    """Put `lines` (each with its end) into a new file at `path` and return it open for more.

    The file at `path` is replaced at once, when the new one is whole. Each write goes through to
    the system at the end of a line: a killed process loses no row.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    file = open(unfinished, "w", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115
    try:
        file.writelines(lines)
        file.flush()
        os.replace(unfinished, path)
    except BaseException:
        file.close()
        unfinished.unlink(missing_ok=True)
        raise
    return file


def set_aside(path: Path) -> Path | None:
    """Rename what is at `path` to the next free `name.1.ext`, `name.2.ext`, ...

    Returns:
        The new path, or None when there was nothing.
    """
    if not path.exists():
        return None
    number = 1
    while (other := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(other)
    return other
