"""Paths as people write them: the one place that makes a path on this machine of one.

Every option, argument and file that names a path goes through `local_path`: a home folder means the
same in a program, in a file and on the command line, and an address that nothing here can write to
is refused instead of becoming a folder called `s3:`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from trackside.errors import ConfigurationError

# Two letters or more before the colon; one slash, because `Path` has taken the second one away.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_CREDENTIALS = re.compile(r"(?<=:/)/?[^/@\s]*@|\?.*", re.DOTALL)


def is_address(given: str) -> bool:
    """Whether `given` is written as an address, such as `s3://bucket/run`, and not as a path."""
    return _ADDRESS.match(given) is not None


def local_path(given: str | os.PathLike[str], option: str | None = None) -> Path:
    """The path that `given` means on this machine, with `~` and `~name` expanded.

    Args:
        given: As it was written.
        option: Name of the parameter that it was given for; None where there is none.

    Raises:
        ConfigurationError: It is empty, an address such as `s3://...`, or nobody's home folder.

    Example:
        >>> local_path("runs/mine", "directory")
        PosixPath('runs/mine')
    """
    text, name = os.fspath(given), option or "path"
    if is_address(text):
        text = re.sub(r":/+", "://", _CREDENTIALS.sub("", text), count=1)
        raise ConfigurationError(
            f"{name}={text!r} is an address, not a path",
            expected="a path on this machine; an address may be the folder of a run that trains, "
            "goes on, is evaluated or predicts",
            received=text,
            option=option,
            remedy=f"`trackside download {text} FOLDER` copies the run that lies there",
        )
    if not text or "\0" in text:
        raise ConfigurationError(
            f"{name}={text!r} names no path",
            expected="the path of a file or a folder",
            received=text,
            option=option,
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(
            f"{name}={text!r} begins with a home folder that doesn't exist",
            expected="`~`, or `~name` with the name of a user of this machine",
            received=text,
            option=option,
            remedy="write the whole path, from `/`, for a folder that is really called so",
        ) from error


def folder_path(given: str | os.PathLike[str], option: str) -> Path:
    """The path of a folder to write into, which need not exist; refused before any work is done.

    Raises:
        ConfigurationError: As `local_path`; or a file stands there, or in the place of a folder
            above it.
    """
    path = local_path(given, option)
    in_the_way = next((one for one in (path, *path.parents) if one.exists()), None)
    if in_the_way is not None and not in_the_way.is_dir():
        raise ConfigurationError(
            f"{option} {os.fspath(given)} can't be a folder: {in_the_way} is a file",
            expected="a folder, which need not exist",
            option=option,
            remedy="choose another place",
        )
    return path


def file_path(given: str | os.PathLike[str], option: str, ending: str = "") -> Path:
    """The path of a file to write, in a folder that need not exist; refused before any work.

    Raises:
        ConfigurationError: As `folder_path` of the folder it lies in; or it has another ending, or
            a folder stands there.
    """
    path = local_path(given, option)
    if ending and path.suffix != ending:
        raise ConfigurationError(
            f"{option} {os.fspath(given)} must end in {ending}",
            expected="the name of the file to write",
            option=option,
        )
    if path.is_dir():
        raise ConfigurationError(
            f"{option} {os.fspath(given)} is a folder",
            expected="the name of the file to write",
            option=option,
            remedy=f"name a file in it: {path / ('NAME' + ending)}",
        )
    folder_path(path.parent, option)
    return path
