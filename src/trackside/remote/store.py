"""The store: named objects below an address, by the file system of fsspec that its scheme names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, final

import xxhash

from trackside.checkpoint.files import CHUNK_BYTES, open_regular
from trackside.imports.extras import optional_package
from trackside.remote.address import Address
from trackside.secret import keep_secret

_WITH_FOLDERS = frozenset(
    {"file", "local", "memory", "sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs"}
)
"""Schemes whose folders have to be made. Elsewhere a name is all there is, and to make a folder
could make a bucket."""
_SENSITIVE = ("key", "secret", "token", "password", "passwd", "credential", "sas", "connection")


class LocalChangeError(Exception):
    """A file on this machine has changed before it was uploaded."""


@final
class Store:
    """Objects below an address.

    Args:
        address: The remote folder.
        options: Options of its file system (keys, an endpoint); None leaves these to the
            environment and to fsspec's own configuration. Their values are never shown.
    """

    def __init__(self, address: Address, options: Mapping[str, Any] | None = None) -> None:
        package = optional_package("fsspec", needed_by="Upload", extra="remote")
        self.address = address
        for source in (options or {}, package.config.conf.get(address.scheme, {})):
            for name, value in source.items():
                if source is options or any(word in name.lower() for word in _SENSITIVE):
                    keep_secret(value)
        self._options = dict(options or {})
        self._made: set[str] = set()

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system, and the path in it; some connect as they are made: by a first call."""
        package = optional_package("fsspec", needed_by="Upload", extra="remote")
        # An instance of its own: one that is kept for others would keep the credentials, too.
        own: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        fs, root = package.core.url_to_fs(str(self.address), **own, **self._options)
        return fs, root.rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._place[0]

    @property
    def _root(self) -> str:
        return self._place[1]

    def put(self, name: str, data: bytes) -> None:
        """Write an object, in the place of one of that name."""
        self._make_folder(name)
        self._fs.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> None:
        """Write an object that isn't there yet; as far as the store knows.

        Raises:
            FileExistsError: There is one.
        """
        self._make_folder(name)
        self._fs.pipe_file(self._path(name), data, mode="create")

    def send(
        self, name: str, path: Path, size_bytes: int, digest: str, sent: Callable[[int], object]
    ) -> None:
        """Write a file of this machine as one object.

        Args:
            name: Of the object.
            path: Of the file.
            size_bytes: How much of it.
            digest: xxh3_128 of so much.
            sent: Called with the bytes of each piece.

        Raises:
            LocalChangeError: The file is gone, or isn't what it was.
        """
        self._make_folder(name)
        actual, left = xxhash.xxh3_128(), size_bytes
        with (
            _opened(path) as source,
            self._writing(name) as target,
        ):
            while left and (chunk := source.read(min(CHUNK_BYTES, left))):
                actual.update(chunk)
                target.write(chunk)
                left -= len(chunk)
                sent(len(chunk))
        if left or actual.hexdigest() != digest:
            raise LocalChangeError(f"{path} has changed since it was written")

    def get(self, name: str, limit_bytes: int) -> bytes:
        """The content of an object, of which at most one byte more than `limit_bytes` is read.

        Raises:
            FileNotFoundError: There is none.
        """
        self._fs.invalidate_cache()
        with self._fs.open(self._path(name), "rb") as file:
            data: bytes = file.read(limit_bytes + 1)
        return data

    def chunks(self, name: str, limit_bytes: int) -> Iterator[bytes]:
        """The content of an object in pieces, and at most one byte more than `limit_bytes`."""
        left = limit_bytes + 1
        with self._fs.open(self._path(name), "rb") as file:
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                yield chunk
                left -= len(chunk)

    def size(self, name: str) -> int | None:
        """Bytes of an object; None where there is none."""
        self._fs.invalidate_cache()
        try:
            size: int = self._fs.info(self._path(name))["size"]
        except FileNotFoundError:
            return None
        return size

    def names(self, folder: str) -> list[str]:
        """Names of the objects right below `folder`, as the store says them: not to be trusted."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return [f"{folder}/{str(path).rstrip('/').rpartition('/')[2]}" for path in found]

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that aren't there are gone already."""
        for name in names:
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                continue

    def find(self, name: str) -> list[str]:
        """Addresses of the folders at or below this one that hold an object of that name."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(self._root)
        except FileNotFoundError:
            return []
        ends = [path for path in found if path.rpartition("/")[2] == name]
        base = str(self.address)
        below = [path.removeprefix(self._root).rpartition("/")[0] for path in ends]
        return sorted({base + place for place in below})

    def _writing(self, name: str) -> Any:
        # No file of this machine: nobody reads an object that no ledger names.
        return self._fs.open(self._path(name), mode="wb")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_folder(self, name: str) -> None:
        folder = self._path(name).rpartition("/")[0]
        if self.address.scheme in _WITH_FOLDERS and folder not in self._made:
            self._fs.makedirs(folder, exist_ok=True)
            self._made.add(folder)


def _opened(path: Path) -> BinaryIO:
    try:
        return open(open_regular(path), "rb")
    except OSError as error:
        raise LocalChangeError(f"{path} can't be read: {error.strerror}") from error
