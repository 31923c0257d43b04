"""Addresses of remote folders: what they may be, how they are shown, where their mirror lies."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any, final
from urllib.parse import unquote

from trackside.errors import ConfigurationError, did_you_mean
from trackside.imports.extras import optional_package
from trackside.machine.paths import is_address
from trackside.secret import as_written

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_USER = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]*")
_READ_ONLY = frozenset({"http", "https", "data", "github", "git", "generic", "reference", "zip"})
MIRRORS = Path("runs")


def shown(text: object) -> str:
    """`text` for files and messages: without users, passwords, queries of addresses, secrets."""
    hidden = _USER.sub("(hidden)@", as_written(str(text)))
    return _QUERY.sub(r"\1?(hidden)", hidden)


@final
class Address:
    """A folder in remote storage, checked.

    Args:
        given: As it was written: `s3://bucket/run`.
        option: Name of the parameter that it was given for.

    Raises:
        ConfigurationError: It names no folder, holds credentials, or fsspec doesn't know its scheme
            or lacks the package for it.

    Example:
        >>> str(Address("memory://bucket/run/"))
        'memory://bucket/run'
    """

    def __init__(self, given: str, option: str | None = None) -> None:
        match = _PARTS.fullmatch(given)
        if match is None:
            raise ConfigurationError(
                f"{shown(given)!r} is not the address of a folder",
                expected="an address with two slashes, as text: 's3://bucket/run'",
                received=shown(given),
                option=option,
            )
        self.scheme, rest = match[1].lower(), match[2].rstrip("/")
        _refuse_credentials(given, rest, option)
        parts = rest.lstrip("/").split("/")
        if not rest.strip("/") or any(part in ("", ".", "..") for part in parts) or "\0" in rest:
            raise ConfigurationError(
                f"{shown(given)!r} names no folder",
                expected="a bucket or a host, and the names of folders",
                received=shown(given),
                option=option,
            )
        _check_scheme(self.scheme, given, option)
        self._text = f"{self.scheme}://{rest}"
        self._names = parts

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Address({self._text!r})"

    @property
    def mirror(self) -> Path:
        """The folder on this machine in which the run is written, where none is given."""
        names = [unquote(name) for name in self._names]
        safe = [re.sub(r"[^\w.=+-]", "_", name).strip(".") or "_" for name in names]
        if safe != names:  # two addresses must not share one
            safe[-1] += "-" + hashlib.sha256(str(self).encode()).hexdigest()[:8]
        return MIRRORS / self.scheme / PurePosixPath(*safe)


def _refuse_credentials(given: str, rest: str, option: str | None) -> None:
    if ("@" in rest.split("/", 1)[0] and ":" in rest.split("@", 1)[0]) or "?" in rest:
        raise ConfigurationError(
            "an address must not hold credentials: it is written to files and messages",
            expected="a bucket or a host, and the names of folders",
            received=shown(given),
            option=option,
            remedy="give them by the environment or fsspec's own configuration, or as "
            "`Upload(storage_options={...})`, whose values are secret",
        )


def _check_scheme(scheme: str, given: str, option: str | None) -> None:
    package = optional_package("fsspec", needed_by=f"a folder in {scheme}://", extra="remote")
    known: Any = sorted({*package.available_protocols()} - _READ_ONLY)
    if scheme in _READ_ONLY or "::" in given:
        raise ConfigurationError(
            f"{shown(given)!r} can't be written to",
            expected="storage that takes files: " + ", ".join(f"{name}://" for name in _SHOWN),
            received=shown(given),
            option=option,
        )
    try:
        package.get_filesystem_class(scheme)
    except ValueError:
        raise ConfigurationError(
            f"{shown(given)!r} is an address whose scheme nothing here knows: {scheme}://",
            expected="a scheme of fsspec: " + ", ".join(f"{name}://" for name in _SHOWN),
            received=shown(given),
            option=option,
            remedy=did_you_mean(scheme, known),
        ) from None
    except ImportError as error:
        raise ConfigurationError(
            f"{scheme}:// needs a package that is not installed: {error}",
            received=shown(given),
            option=option,
            remedy=f"pip install 'trackside[remote]' {_PACKAGES.get(scheme, '')}".rstrip(),
        ) from error


_SHOWN = ("s3", "gs", "az", "sftp", "hdfs", "file", "memory")
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}


def address_in(given: Any, option: str | None = None) -> Address | None:
    """The address that `given` is, checked; None for a path on this machine."""
    return Address(given, option) if isinstance(given, str) and is_address(given) else None
