"""Folders under a temporary name: a checkpoint before it is whole, and after it is deleted.

The name begins with the id of the run, and the folder is locked for as long as its writer lives:
the next start of the run knows which leftovers are its own, and which of those nobody writes.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import final

from trackside.checkpoint.files import explain

_NAME = re.compile(r"\.tmp-[A-Za-z0-9_-]+\..+-[0-9a-f]{8}")


def temporary_name(run_id: str, what: str) -> str:
    """A new name for something that isn't whole yet, or isn't wanted any more."""
    # A run's id has no dot: the prefix of one is never the beginning of another's.
    return f".tmp-{run_id}.{what}-{secrets.token_hex(4)}"


def is_temporary_name(name: str) -> bool:
    """Whether `temporary_name` gives such names, to any run."""
    return _NAME.fullmatch(name) is not None


LOCK_NAME = "writer.lock"

# Folders that this process is writing: its own locks would not stop it.
_written_here: set[Path] = set()


@final
class TemporaryFolder:
    """A folder that is locked while it is written, and removed unless it got its final name.

    Args:
        root: Where it, and later the final folder, stands: a rename across file systems would be
            a copy, which can be half done.
        run_id: Whose it is.
        what: For people who find it.
    """

    def __init__(self, root: Path, run_id: str, what: str) -> None:
        self.path = root / temporary_name(run_id, what)
        os.mkdir(self.path)
        _written_here.add(self.path)
        self._is_final = False
        try:
            # A record lock, not flock: that one lives on in worker processes that were forked.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._lock = os.open(self.path / LOCK_NAME, flags, 0o666)
            _try_lock(self._lock)
        except BaseException:
            self._remove()
            raise

    def rename(self, final_path: Path) -> None:
        """Give it its final name. Raises `OSError` when that is taken by a folder with content."""
        os.rename(self.path, final_path)
        self._is_final = True

    def unlock(self) -> None:
        """Take the lock away, so that it doesn't become a part of the final folder."""
        os.unlink(self.path / LOCK_NAME)

    def __enter__(self) -> TemporaryFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._lock)
        problem = None if self._is_final else self._remove()
        if problem is not None and error is not None:
            error.add_note(f"what was written so far is left in {self.path} ({problem})")
        _written_here.discard(self.path)

    def _remove(self) -> str | None:
        _written_here.discard(self.path)
        return remove_folder(self.path)


def remove_folder(path: Path) -> str | None:
    """Remove a folder of ours. Returns what prevented it, or None."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return explain(error)
    return None


def clean_leftovers(root: Path, run_id: str) -> tuple[str, ...]:
    """Remove what writers of this run left behind when they were killed. Returns the names.

    Leaves alone what belongs to another run, and what a living process of this one is writing.
    """
    removed: list[str] = []
    for path in sorted(root.glob(f".tmp-{run_id}.*")):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            removed.append(path.name)
        elif not has_writer(path) and remove_folder(path) is None:
            removed.append(path.name)
    return tuple(removed)


def has_writer(folder: Path) -> bool:
    """Whether a living process, this one or another, is writing the folder."""
    if folder in _written_here:
        return True
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # none was made yet, or it was taken away already: the process is gone
        return False
    try:
        return not _try_lock(lock)
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    """Lock a file until it is closed or the process dies. False when another process has it."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: the name says whose it is, and that has to do
        return True
    return True
