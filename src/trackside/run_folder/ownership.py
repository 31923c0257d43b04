"""Ownership of files and folders, and whether others may change them."""

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
    owner = owner_of(status)
    if owner not in (os.geteuid(), 0):
        return f"{path} belongs to another user (number {owner})"
    writers = stat.S_IWOTH | (stat.S_IWGRP if strict else 0)
    if status.st_mode & writers:
        return f"other users may write to {path}"
    return None


def owner_of(status: os.stat_result) -> int:
    """Number of the user who owns it."""
    return status.st_uid
