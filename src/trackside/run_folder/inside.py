"""Files in a run's folder: opened, replaced and listed without following what was planted there.

The folder itself may be a link; what lies below it is taken as a plain file or not at all. Writing
goes to a new file under a name that nothing has, which then takes the place of the old one: a link
of that name is replaced, and what it points to stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO

_BESIDE = re.compile(r"\.tmp-[0-9a-f]{8}-.+")


def read_inside(folder: Path, name: str, *, limit_bytes: int) -> bytes:
    """The content of a plain file in the folder.

    Raises:
        OSError: It isn't there, is a link, a pipe or a device, or has more than `limit_bytes`.
    """
    with open_inside(folder, name) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit_bytes:
            message = f"{size} bytes, more than {limit_bytes}"
            raise OSError(errno.EFBIG, message, str(folder / name))
        return stream.read(limit_bytes)


def open_inside(folder: Path, name: str) -> BinaryIO:
    """A plain file in the folder, open to be read.

    Raises:
        OSError: It isn't there, is a link, a pipe or a device.
    """
    path = _inside(folder, name, make=False)
    # O_NONBLOCK: opening a pipe would wait for a writer forever.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(file, "rb")


def replace_inside(folder: Path, name: str, data: bytes | str) -> None:
    """Put `data` in the place of a file in the folder: a reader sees the old or the new, no part.

    Raises:
        OSError: It can't be written, or a folder above it is a link.
    """
    content = data.encode() if isinstance(data, str) else data
    write_inside(folder, name, lambda stream: stream.write(content))


def create_beside(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open for writing, under a name that nothing had. `OSError`."""
    while True:
        temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileExistsError):
            return os.open(temporary, flags, 0o666), temporary


def is_name_beside(name: str) -> bool:
    """Whether `create_beside` gives such names: a file of that name is not whole."""
    return _BESIDE.fullmatch(name) is not None


def append_inside(folder: Path, name: str) -> TextIO:
    """A file in the folder, open to write text at its end. `OSError` for a link or a pipe."""
    path = inside(folder, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(file, "a", encoding="utf-8")


def inside(folder: Path, name: str | os.PathLike[str]) -> Path:
    """The path of a name in the folder; folders on the way are made.

    A name that leads out of the folder (absolute, or with `..`) was chosen by who configured the
    run, and is taken as it is.

    Raises:
        OSError: A folder on the way is a link that leads out, or no folder.
    """
    return _inside(folder, name, make=True)


def _inside(folder: Path, name: str | os.PathLike[str], *, make: bool) -> Path:
    """The path of a name in the folder; who only reads makes no folder on the way. `OSError`."""
    path = folder / name
    relative = Path(name)
    leads_out = relative.is_absolute() or ".." in relative.parts
    if make:
        (path.parent if leads_out else folder).mkdir(parents=True, exist_ok=True)
    if leads_out:
        return path
    place = folder
    for part in relative.parts[:-1]:
        place = place / part
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(place)
        refuse_link(place)
    return path


def folder_inside(folder: Path, name: str | os.PathLike[str]) -> Path:
    """A folder in the folder, made where it isn't there. Raises `OSError` where that is a link."""
    return inside(folder, Path(name) / "file").parent


def new_folder_inside(folder: Path, name: str | os.PathLike[str]) -> Path:
    """A folder in the folder that nobody had: `name`, or `name-2`, `name-3`, ... `OSError`."""
    path = inside(folder, name)
    for number in itertools.count(2):
        try:
            os.mkdir(path)
        except FileExistsError:
            path = path.with_name(f"{Path(name).name}-{number}")
        else:
            break
    return path


def write_inside(folder: Path, name: str, write: Callable[[BinaryIO], object]) -> Path:
    """A file in the folder, with what `write` puts into it; whole, or as it was before.

    Raises:
        OSError: It can't be written, or a folder above it is a link.
    """
    path = inside(folder, name)
    file, temporary = create_beside(path)
    try:
        with os.fdopen(file, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that led here says more
            os.unlink(temporary)
        raise
    return path


def unlinked(path: Path) -> Path:
    """The same path, without the link that may be there: for libraries that open it themselves."""
    if path.is_symlink():
        path.unlink()
    return path


def refuse_link(path: Path) -> None:
    """Raise `OSError` when there is a link at `path`: what lies there belongs to who made it."""
    if stat.S_ISLNK(os.lstat(path).st_mode):
        raise OSError(errno.ELOOP, "a link inside a run's folder is not followed", str(path))
