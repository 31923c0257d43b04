"""Where an error came up in a user's code, for people who no longer have the log."""

from __future__ import annotations

import os
import site
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from trackside.errors import printable

MOST_PLACES = 5
MOST_NOTES = 3
LONGEST_NOTE = 300


def places_of(error: BaseException) -> list[str]:
    """`model.py:10 in forward`: lines of a user's code that an error passed, innermost first.

    Lines of Trackside, of installed packages and of Python are left out. Files in the folder in
    which the process works are named from there.
    """
    found = []
    packages = _packages()
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith((*packages, "<frozen")):
            found.append(f"{_named(file)}:{line} in {frame.f_code.co_name}")
    return [printable(place) for place in found[: -MOST_PLACES - 1 : -1]]


def notes_of(error: BaseException) -> list[str]:
    """The first line of each of its notes, shortened."""
    notes: Sequence[object] = getattr(error, "__notes__", ())
    lines = [note.partition("\n")[0] for note in notes if isinstance(note, str)]
    return [printable(line[:LONGEST_NOTE]) for line in lines[:MOST_NOTES]]


def _packages() -> list[str]:
    """Folders of code that isn't the user's."""
    python = sysconfig.get_paths()["stdlib"]
    installed = [*site.getsitepackages(), site.getusersitepackages(), python]
    return [folder + os.sep for folder in (str(Path(__file__).parents[2]), *installed)]


def _named(file: str) -> str:
    try:
        relative = os.path.relpath(file)
    except (OSError, ValueError):  # the folder is gone, or on another drive
        return file
    return file if relative.startswith(os.pardir) else relative
