"""A run with a remote folder below `file://`, which kills itself at a moment of its uploads."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.remote.runs import train
from trackside.remote.store import Store


def life(address: str, mirror: str, epochs: int, kill_at: int | None, line: Connection) -> None:
    """Train; send how many moments there were, and the weights at the end.

    Args:
        address: Of the remote folder.
        mirror: The folder here.
        epochs: How many.
        kill_at: The moment of the kill: one before each call of the store, and one in the middle of
            each write. None lives on.
        line: Where the answer goes.
    """
    passed = 0

    def moment() -> bool:
        nonlocal passed
        passed += 1
        return passed == kill_at

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(method: Any, writes: bool) -> Any:
        def call(self: Store, name: Any, *rest: Any, **options: Any) -> Any:
            if moment():
                kill()
            if writes and moment():  # so much of it arrives
                data = rest[0] if isinstance(rest[0], bytes) else Path(rest[0]).read_bytes()
                with open(self._path(name), "wb") as file:
                    file.write(data[: len(data) // 2])
                    file.flush()
                kill()
            return method(self, name, *rest, **options)

        return call

    for name in ("put", "send", "create", "get", "size", "names", "remove"):
        writes = name in ("put", "send")
        setattr(Store, name, wrapped(getattr(Store, name), writes))
    weights = train(Path(mirror), epochs, "auto", address=address)
    line.send((passed, weights))
