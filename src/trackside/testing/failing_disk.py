"""A disk that is full and a network that is down, foreverything below one folder and beyond it."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

TEXT = "No space left on device (of the contract suite)"


@contextlib.contextmanager
def failing_disk_and_network(folder: Path) -> Iterator[list[str]]:
    """Make writes below `folder`, and connections, fail.

    Reading works, and so does everything elsewhere on the disk.

    Yields:
        What was attempted, in words.
    """
    attempts: list[str] = []
    root = os.path.realpath(folder)

    def below(path: Any) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False  # a descriptor that is open already
        given = os.path.realpath(os.fsdecode(path))
        return given == root or given.startswith(root + os.sep)

    def refuse(what: str, path: Any) -> None:
        attempts.append(f"{what} {os.fsdecode(path)}")
        raise OSError(errno.ENOSPC, TEXT, os.fsdecode(path))

    def guard(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(path: Any, *rest: Any, **options: Any) -> Any:
            if below(path) or (what == "rename" and rest and below(rest[0])):
                refuse(what, path)
            return real(path, *rest, **options)

        return guarded

    real_open, real_os_open = builtins.open, os.open

    def open_file(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if set(mode) & set("wax+") and below(file):
            refuse("open", file)
        return real_open(file, mode, *rest, **options)

    def open_descriptor(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and below(path):
            refuse("open", path)
        return real_os_open(path, flags, *rest, **options)

    def connect(self: socket.socket, address: Any) -> None:
        attempts.append(f"connect to {address}")
        raise OSError(errno.ENETUNREACH, "Network is unreachable (of the contract suite)")

    with contextlib.ExitStack() as stack:
        for place, name, fake in (
            (builtins, "open", open_file),
            (io, "open", open_file),
            (os, "open", open_descriptor),
            (os, "mkdir", guard("mkdir", os.mkdir)),
            (os, "rename", guard("rename", os.rename)),
            (os, "replace", guard("rename", os.replace)),
            (socket.socket, "connect", connect),
        ):
            stack.enter_context(mock.patch.object(place, name, fake))
        yield attempts
