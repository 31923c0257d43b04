"""The file of a run's records: appended to, never changed, and shared by all of its checkpoints.

Each checkpoint has a hard link to it, and in its manifest the length that it had then, with the
digest of so much. Nothing below such a length is ever written again; what is beyond it belongs to
later checkpoints, or to a save that was killed. Why so stands in
docs/decisions/0034-records-beside-the-state.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from pathlib import Path
from typing import final

import xxhash

from trackside.checkpoint.files import (
    CHUNK_BYTES,
    DigestWriter,
    FileEntry,
    naming,
)
from trackside.checkpoint.records import Encoder
from trackside.checkpoint.temporary import temporary_name
from trackside.history import HistorySnapshot

RECORDS_NAME = "history.records"


@final
class RecordFile:
    """Writes the records of a run, each once, for all checkpoints that a writer makes.

    A history that was put back (a resume, a rollback) begins its own file: the former one
    belongs to the checkpoints that were made before.

    Args:
        root: Folder of the checkpoints: a link can't lead to another file system.
        run_id: Of the run.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self._root = root
        self._run_id = run_id
        self._open: _Open | None = None

    def put_into(self, folder: Path, history: HistorySnapshot) -> FileEntry:
        """Write what is new, flushed, and give `folder` the file. Raises `OSError`."""
        current = self._open
        if current is None or not current.precedes(history):
            self.discard()
            current = self._open = _Open(self._root, self._run_id, history)
        try:
            current.append(history.count)
            entry = current.put_into(folder)
        except BaseException:
            # Nobody knows what the disk has of it. The checkpoints made so far keep their part.
            self.discard()
            raise
        if entry is None:  # it has as many links as the file system allows
            self.discard()
            return self.put_into(folder, history)
        return entry

    def discard(self) -> None:
        """Give up the file's own name: checkpoints have theirs."""
        current, self._open = self._open, None
        if current is not None:
            current.close()


@final
class _Open:
    """One file under its own name, open for more."""

    def __init__(self, root: Path, run_id: str, history: HistorySnapshot) -> None:
        self._path = root / temporary_name(run_id, "records")
        self._encoder = Encoder(history.columns)
        self._digest = xxhash.xxh3_128()
        self._size_bytes = 0
        self._links = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o666)
        # A writer that is dropped without an end leaves no file behind.
        self.close = weakref.finalize(self, _close, self._file, self._path, os.getpid())

    def precedes(self, history: HistorySnapshot) -> bool:
        """Whether what is written is the beginning of `history`."""
        return self._encoder.columns is history.columns and self._encoder.count <= history.count

    def append(self, count: int) -> None:
        """Write the records up to `count`, flushed."""
        before = self._size_bytes
        with naming(self._path):
            for block in self._encoder.blocks(count):
                rest = memoryview(block)
                while rest:
                    written = os.write(self._file, rest[:CHUNK_BYTES])
                    self._digest.update(rest[:written])
                    self._size_bytes += written
                    rest = rest[written:]
            if self._size_bytes > before:
                os.fsync(self._file)

    def put_into(self, folder: Path) -> FileEntry | None:
        """Link the file into `folder`, or copy it; None when it can't have another link."""
        path = folder / RECORDS_NAME
        try:
            os.link(self._path, path)
        except OSError as error:
            if error.errno == errno.EMLINK and self._links:
                return None
            # No links on this file system, or another process has taken the name: then whole.
            self._copy(path)
        else:
            self._links += 1
        return FileEntry(RECORDS_NAME, self._size_bytes, self._digest.hexdigest(), grows=True)

    def _copy(self, path: Path) -> None:
        with DigestWriter(path) as copy:
            for place in range(0, self._size_bytes, CHUNK_BYTES):
                with naming(self._path):
                    chunk = os.pread(self._file, min(CHUNK_BYTES, self._size_bytes - place), place)
                copy.write(chunk)
            written = copy.finish()
        if written.digest != self._digest.hexdigest():
            raise OSError(errno.EIO, "the records read back are not those written", str(self._path))


def _close(file: int, path: Path, owner: int) -> None:
    if os.getpid() != owner:  # a forked child: the file is its parent's
        return
    os.close(file)
    with contextlib.suppress(OSError):  # the next start of the run removes what is left
        os.unlink(path)
