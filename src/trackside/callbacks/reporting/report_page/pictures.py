"""Pictures of a run for its report: the newest of each name, as many as a page should carry."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trackside.run_folder.inside import read_inside
from trackside.run_folder.names import PICTURES

LIMIT_BYTES = 12 * 2**20
"""Bytes of all pictures of one run in a report."""
_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture in the page."""

    name: str
    """Path below the run's folder."""
    data: str
    """The PNG file in base64."""


def pictures_of(folder: Path, limit_bytes: int = LIMIT_BYTES) -> tuple[list[Shown], list[str]]:
    """The pictures that fit, and the names of those that are left out, or can't be read."""
    shown: list[Shown] = []
    left_out: list[str] = []
    rest = limit_bytes
    for name in _newest(folder):
        try:
            content = read_inside(folder, name, limit_bytes=rest)
        except OSError:
            left_out.append(name)
            continue
        if not content.startswith(_MAGIC):
            left_out.append(name)
            continue
        rest -= len(content)
        shown.append(Shown(name, base64.b64encode(content).decode("ascii")))
    return shown, left_out


def _newest(folder: Path) -> Iterator[str]:
    """Pictures beside the run's files, then the newest of each folder below `pictures/`."""
    for path in sorted(folder.glob("*.png")):
        yield path.name
    root = folder / PICTURES
    if root.is_symlink() or not root.is_dir():
        return
    newest: dict[Path, Path] = {}
    for path in sorted(root.rglob("*.png")):
        if not path.name.startswith("."):
            newest[path.parent] = path  # names hold the step with leading zeros: the last is newest
    for path in newest.values():
        yield str(path.relative_to(folder))
