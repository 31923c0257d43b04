"""Leaks of a run: open files, threads, processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

PATIENCE_SECONDS = 2.0
"""Time in which ending threads must be gone, all together."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """Resources that this process holds at one moment."""

    files: dict[int, str]
    """Paths of open files on disk, by descriptor; empty where the system doesn't list them."""
    threads: frozenset[threading.Thread]
    processes: frozenset[int]

    @classmethod
    def now(cls) -> Belongings:
        """Take stock of the resources of this process."""
        return cls(_open_files(), frozenset(threading.enumerate()), frozenset(_children()))

    def left_behind(self) -> list[str]:
        """Describe resources that are held now and were not then; threads get a moment to end."""
        if not self._newly_held(patience_seconds=0.0):
            return []
        gc.collect()  # what nobody refers to any more is closed by it: no leak
        return self._newly_held(PATIENCE_SECONDS)

    def _newly_held(self, patience_seconds: float) -> list[str]:
        now = Belongings.now()
        found = [f"the file {p}" for fd, p in now.files.items() if self.files.get(fd) != p]
        deadline = monotonic() + patience_seconds
        for thread in now.threads - self.threads:
            thread.join(max(deadline - monotonic(), 0.0))
            if thread.is_alive():
                found.append(f"the thread {thread.name!r}")
        found += [f"the process {pid}" for pid in sorted(now.processes - self.processes)]
        return found


def _children() -> Iterator[int]:
    """Processes that this one has started and not waited for."""
    yield from (child.pid or 0 for child in multiprocessing.active_children())
    for listed in Path("/proc/self/task").glob("*/children"):  # none where the system has no such
        try:
            yield from map(int, listed.read_text().split())
        except FileNotFoundError:  # a thread that has just ended
            continue


def _open_files() -> dict[int, str]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return {}
    found: dict[int, str] = {}
    for entry in os.listdir(folder):
        try:
            path = os.readlink(folder / entry)
        except OSError:  # the descriptor that this very listing used
            continue
        if path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/memfd:")):
            found[int(entry)] = path
    return found
