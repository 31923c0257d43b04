"""Whose a file or folder is, and whether others may change it."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def distrust(path: Path, *, strict: bool = False) -> str | None:
    """Why what lies at `path` can't be taken for the user's own; None when it can.

    Args:
        path: A file or a folder that is there; a link is not followed.
        strict: Whether those of its group may not write either. Otherwise they may: many systems
            give every user a group of their own, and a umask that lets it write.

    Raises:
        OSError: There is nothing.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link"
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user (number {status.st_uid})"
    writers = stat.S_IWOTH | (stat.S_IWGRP if strict else 0)
    if status.st_mode & writers:
        return f"other users may write to {path}"
    return None
