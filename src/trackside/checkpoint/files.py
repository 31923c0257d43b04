"""Durable file I/O: fsynced writes with a digest, and reads that refuse links and devices."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import xxhash

CHUNK_BYTES = 4 * 2**20
"""Bytes per system call: few calls, and what was hashed is still in the processor's cache."""
SMALL_BYTES = 64 * 2**10
"""Below this, pieces are gathered before they are written."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as a manifest lists it."""

    name: str
    size_bytes: int
    digest: str
    """xxh3_128 of its bytes, in hex."""
    grows: bool = False
    """Whether the file may be longer: then its first `size_bytes` are meant."""


@final
class DigestWriter:
    """Writes a new file and knows its digest. `finish` flushes it to the disk.

    What is small is gathered first: a state can have thousands of tiny tensors, and each call costs
    the loop's thread a turn. Closing or collecting it writes nothing.
    Never opens a file that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o666)
        self._digest = xxhash.xxh3_128()
        self._size_bytes = 0
        self._gathered = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`. Raises `OSError` with the file's path."""
        if len(data) < SMALL_BYTES:
            self._gathered += data
            if len(self._gathered) < CHUNK_BYTES:
                return
            data = b""
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            self._write(gathered)
        self._write(data)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            chunk = rest[:CHUNK_BYTES]
            with naming(self._path):
                written = os.write(self._file, chunk)
            # The digest is of what was meant to be written, not of what the disk made of it.
            self._digest.update(chunk[:written])
            self._size_bytes += written
            rest = rest[written:]

    def finish(self) -> FileEntry:
        """Flush to the disk, close, and say what was written."""
        self._write(self._gathered)
        with naming(self._path):
            os.fsync(self._file)
        self.close()
        return FileEntry(self._path.name, self._size_bytes, self._digest.hexdigest())

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file >= 0:
            file, self._file = self._file, -1
            with naming(self._path):
                os.close(file)

    def __enter__(self) -> DigestWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_file(path: Path, data: bytes) -> FileEntry:
    """Write a new file whole, flushed to the disk."""
    with DigestWriter(path) as file:
        file.write(data)
        return file.finish()


def replace_file(path: Path, data: bytes, temporary: Path) -> None:
    """Put `data` in the place of `path`, so that a reader sees the old or the new, never a part.

    Args:
        path: What is replaced, or made.
        data: The new content.
        temporary: A name in the same folder that nothing has.
    """
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that led here says more
            os.unlink(temporary)
        raise
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Flush the names in a folder to the disk: without it a rename may be lost with the power."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(path):
            os.fsync(folder)
    except OSError as error:
        if error.errno not in _FOLDERS_CANT_BE_FLUSHED:
            raise
    finally:
        os.close(folder)


# What file systems without a flush of folders answer (some network ones); they order it themselves.
_FOLDERS_CANT_BE_FLUSHED = frozenset({errno.EINVAL, errno.ENOTSUP})


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an `OSError` of a system call on an open file the path that the kernel leaves out."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def open_regular(path: Path) -> int:
    """Open a file for reading, and only a plain file: no link, no pipe, no device.

    Raises:
        OSError: when it can't be opened, or is something else.
    """
    # O_NONBLOCK: opening a pipe would wait for a writer without end.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return file


def read_regular(path: Path, *, limit_bytes: int, cut: bool = False) -> bytes:
    """The content of a plain file.

    Raises `OSError`, for more than `limit_bytes` as well; with `cut`, so much of it is returned.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit_bytes and not cut:
            raise OSError(errno.EFBIG, f"{size_bytes} bytes, more than {limit_bytes}", str(path))
        return file.read(limit_bytes)


def digest_of(path: Path, *, limit_bytes: int | None = None) -> FileEntry:
    """Size and digest of a plain file as it is on the disk, or of its first `limit_bytes`."""
    digest = xxhash.xxh3_128()
    size_bytes = 0
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        while count := file.readinto(view[: _left(size_bytes, limit_bytes)]):
            digest.update(view[:count])
            size_bytes += count
    return FileEntry(path.name, size_bytes, digest.hexdigest())


def _left(done_bytes: int, limit_bytes: int | None) -> int:
    return CHUNK_BYTES if limit_bytes is None else min(CHUNK_BYTES, limit_bytes - done_bytes)


def digest_of_bytes(data: bytes) -> str:
    """xxh3_128 of `data`, in hex."""
    return xxhash.xxh3_128_hexdigest(data)


def explain(error: OSError) -> str:
    """An operating system's error for a person: path and reason, with `no space left` in words."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        reason = "no space left on device"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{reason}"


def remedy_for(error: OSError) -> str | None:
    """The remedy for errors whose cause is known."""
    return _REMEDIES.get(error.errno or 0)


_REMEDIES: dict[int, str] = {
    errno.ENOSPC: "free space on that file system; the former checkpoints are whole",
    errno.EDQUOT: "the quota of that user is used up; the former checkpoints are whole",
    errno.EFBIG: "the limit for the size of a file is too low (`ulimit -f`)",
    errno.ENOENT: "the folder has vanished while the run was going on; make it again",
    errno.EACCES: "the folder's permissions have changed; allow the run to write there",
    errno.EPERM: "the folder's permissions have changed; allow the run to write there",
    errno.EROFS: "the file system is mounted read-only, often after a fault of the disk",
}
