"""One run at a time in a folder: a claim that names the process, and ends with it.

The claim is a file with a lock on it. The system takes the lock away when the process ends, however
that happens, and on file systems that share locks it tells of other machines as well; the content
says who it is, and is compared where locks mean nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import final

from trackside.errors import UsageError
from trackside.machine.paths import local_path
from trackside.run_folder.process import Process, this_process

logger = logging.getLogger("trackside")

CLAIM = ".claim.json"
_LIMIT_BYTES = 64 * 2**10
_Key = tuple[int, int]

_held: dict[_Key, tuple[int, Process]] = {}
"""Folders claimed by this process, by device and inode: its own locks would not stop it."""
_guard = threading.Lock()
_not_claiming: ContextVar[bool] = ContextVar("_not_claiming", default=False)


class ClaimedError(UsageError):
    """Another run has the folder."""


@final
class Claim:
    """A folder that is this run's until `release`."""

    def __init__(self, folder: Path, made: list[Path]) -> None:
        self.folder = folder
        self._made = made
        self._file = -1
        self._key: _Key | None = None

    def acquire(self) -> None:
        """Take the folder. Raises `ClaimedError`, `OSError`."""
        status = os.stat(self.folder)
        key = (status.st_dev, status.st_ino)
        with _guard:
            pid, holder = _held.get(key, (-1, None))
            if holder is not None and pid == os.getpid():
                raise _refused(self.folder, holder)
            file = _open_locked(self.folder)
            me = this_process()
            os.ftruncate(file, 0)
            os.pwrite(file, (json.dumps(me.as_dict(), indent=1) + "\n").encode(), 0)
            self._file, self._key = file, key
            _held[key] = (os.getpid(), me)

    def release(self) -> None:
        """Let others have it; leave no empty folder that the claim has made. Twice does nothing."""
        file, self._file = self._file, -1
        if file < 0:
            return
        with _guard:
            _held.pop(self._key or (0, 0), None)
            with contextlib.suppress(OSError):  # the folder was removed under the run
                os.unlink(self.folder / CLAIM)
            os.close(file)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # something lies in it
                os.rmdir(folder)


def claim(folder: Path) -> Claim | None:
    """Claim `folder`, which is made where it isn't there.

    Returns:
        The claim; None where claiming makes no sense: nothing can be written there, or the run is
        only looked at (see `unclaimed`).

    Raises:
        ClaimedError: A run that is still alive has it; the process is named.
    """
    if _not_claiming.get():
        return None
    try:
        claimed = Claim(folder, _make(folder))
        claimed.acquire()
    except OSError as error:
        logger.warning("the run's folder %s can't be claimed (%s)", folder, error)
        return None
    return claimed


def claim_new(parent: Path = Path("runs")) -> tuple[Path, Claim | None]:
    """A folder below `parent` that no other run has, named by date and time, and its claim."""
    first = new_name(parent)
    if _not_claiming.get():
        return first, None
    number = 1
    while True:
        folder = first if number == 1 else first.with_name(f"{first.name}_{number}")
        number += 1
        try:
            made = _make(folder.parent)
            os.mkdir(folder)
        except FileExistsError:  # by another run, in this second
            continue
        except OSError as error:
            logger.warning("the run's folder %s can't be made (%s)", folder, error)
            return folder, None
        claimed = Claim(folder, [*made, folder])
        claimed.acquire()
        return folder, claimed


def new_name(parent: Path = Path("runs")) -> Path:
    """A name by date and time that nothing has now; `claim_new` makes sure of it."""
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    candidate, number = parent / name, 2
    while os.path.lexists(candidate):
        candidate = parent / f"{name}_{number}"
        number += 1
    return candidate


@contextlib.contextmanager
def unclaimed() -> Iterator[None]:
    """Within, runs claim nothing and make no folder: they are looked at, not run."""
    token = _not_claiming.set(True)
    try:
        yield
    finally:
        _not_claiming.reset(token)


def holder(folder: str | Path) -> Process | None:
    """The process that has a folder now; None when nobody has, as far as this machine can tell."""
    path = local_path(folder, "run")
    try:
        status = os.stat(path)
        own = _held.get((status.st_dev, status.st_ino))
        if own is not None and own[0] == os.getpid():
            return own[1]  # without opening the file: closing it again would drop the lock
        file = os.open(path / CLAIM, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _read(file)
    finally:
        os.close(file)
    return None if found is None or found.is_gone else found


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; the ones that were made, outermost first."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    made = []
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):  # by another run, at this moment
            os.mkdir(one)
            made.append(one)
    return made


def _open_locked(folder: Path) -> int:
    """The claim's file, locked and nobody's. Raises `ClaimedError`, `OSError`."""
    path = folder / CLAIM
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        file = os.open(path, flags, 0o644)
        try:
            state = _lock(file)
            former = _read(file)
            if state == "taken":
                raise _refused(folder, former)
            if former is not None and not former.is_me and not former.is_gone:
                if former.is_here or state == "unknown":
                    raise _refused(folder, former)
                logger.warning("%s was claimed by %s, which holds it no more", folder, former)
            if _is_still(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder has just removed it: what was locked is no longer there


def _lock(file: int) -> str:
    """`ours`, `taken`, or `unknown` where the file system has no locks."""
    try:
        # A record lock, not flock: that one lives on in worker processes that were forked.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return "taken"
    except OSError:
        return "unknown"
    return "ours"


def _is_still(path: Path, file: int) -> bool:
    try:
        there, here = os.lstat(path), os.fstat(file)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _read(file: int) -> Process | None:
    """The process that the file names; None when it names none."""
    try:
        return Process.from_dict(json.loads(os.pread(file, _LIMIT_BYTES, 0)))
    except (
        ValueError,
        RecursionError,
    ):  # empty: made a moment ago, or by a process that was killed
        return None


def _refused(folder: Path, holder: Process | None) -> ClaimedError:
    who = "a process that has not said its name yet" if holder is None else str(holder)
    gone = holder is not None and not holder.is_here
    return ClaimedError(
        f"another run has the folder {folder}",
        expected="one run at a time in a folder",
        received=who,
        remedy=f"wait for it, or choose another folder; if that machine is off: rm {folder / CLAIM}"
        if gone
        else "wait for it, end it with `trackside ask RUN stop`, or choose another folder",
    )
