"""What a run may leave behind by mistake: open files, threads, processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

PATIENCE_SECONDS = 2.0
"""How long threads that were told to end may take to do so, all together."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process holds at one moment."""

    files: dict[int, str]
    """Paths of open files on disk, by descriptor; empty where the system doesn't tell."""
    threads: frozenset[threading.Thread]
    processes: frozenset[int]

    @classmethod
    def now(cls) -> Belongings:
        """What is held now, after a collection of garbage."""
        gc.collect()
        children = frozenset(child.pid or 0 for child in multiprocessing.active_children())
        return cls(_open_files(), frozenset(threading.enumerate()), children)

    def leaked_since(self, before: Belongings) -> list[str]:
        """What is held now and was not before, in words; threads get a moment to end."""
        found = [f"the file {p}" for fd, p in self.files.items() if before.files.get(fd) != p]
        deadline = monotonic() + PATIENCE_SECONDS
        for thread in self.threads - before.threads:
            thread.join(max(deadline - monotonic(), 0.0))
            if thread.is_alive():
                found.append(f"the thread {thread.name!r}")
        found += [f"the process {pid}" for pid in self.processes - before.processes]
        return found


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
