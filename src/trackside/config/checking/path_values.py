"""Options of any constructor that hold a path: a home folder in a file is a home folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from trackside.machine.paths import local_path


def local_value(value: Any, hint: Any) -> Any:
    """`value` with the home folder expanded, where `hint` says that it may be a path.

    Text is left alone but for a leading `~`: an option of the type `str | Path` may take addresses
    or words as well, and knows its own. An address that has become a `Path` is damaged already.

    Raises:
        ConfigurationError: It is a `Path` that no file on this machine can have.
    """
    if isinstance(value, Path):
        return local_path(value)
    if isinstance(value, str) and value.startswith("~") and _holds_paths(hint):
        return str(local_path(value))
    return value


def _holds_paths(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, os.PathLike):
        return True
    return any(_holds_paths(inner) for inner in get_args(hint)) or _is_path_like(hint)


def _is_path_like(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is os.PathLike
