"""Receipts: digests of all that a run was made from and has made, each chained to the one before.

The digest of an entry is one of its content and of the entry before it: the last one, the seal, is
of all of them. A key makes a signature of the seal (HMAC-SHA-256), which nobody can make without
it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from trackside.errors import ConfigurationError, UsageError
from trackside.run_folder.inside import open_inside, read_inside, replace_inside
from trackside.run_folder.names import RECEIPT

FORMAT_VERSION = 1
METHOD = "hmac-sha256"
SHORTEST_KEY = 16
"""Bytes; a shorter key can be tried out."""
_LIMIT_BYTES = 64 * 2**20

SignatureState = Literal["valid", "wrong", "missing", "not checked"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of the chain."""

    name: str
    """Its subject: `records`, `checkpoints/step-0000001200`."""
    content: Mapping[str, Any]
    digest: str
    """SHA-256 of the content, the name, and the digest of the entry before; in hex."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The chain of a run, and its signature."""

    entries: tuple[Entry, ...]
    signature: str | None = None
    """HMAC-SHA-256 of the seal, in hex; None: it isn't signed."""

    @classmethod
    def of(cls, contents: Iterable[tuple[str, Mapping[str, Any]]], key: bytes | None) -> Receipt:
        """The receipt with these contents, signed where there is a key."""
        entries: list[Entry] = []
        before = ""
        for name, content in contents:
            before = _digest(name, content, before)
            entries.append(Entry(name, content, before))
        return cls(tuple(entries), None if key is None else _signature(before, key))

    @property
    def seal(self) -> str:
        """The digest of the last entry, which is one of all."""
        return self.entries[-1].digest if self.entries else ""

    def content(self, name: str) -> Mapping[str, Any]:
        """The content of an entry; empty where there is none."""
        return next((one.content for one in self.entries if one.name == name), {})

    def broken_at(self) -> str | None:
        """Name of the first entry that isn't the one that was written; None: the chain is whole."""
        before = ""
        for entry in self.entries:
            before = _digest(entry.name, entry.content, before)
            if not hmac.compare_digest(before, entry.digest):
                return entry.name
        return None

    def signed_by(self, key: bytes | None) -> SignatureState:
        """Whether the signature is that of `key`; None checks nothing."""
        if self.signature is None:
            return "missing"
        if key is None:
            return "not checked"
        right = hmac.compare_digest(self.signature, _signature(self.seal, key))
        return "valid" if right else "wrong"


def _digest(name: str, content: Mapping[str, Any], before: str) -> str:
    return hashlib.sha256(canonical([before, name, content])).hexdigest()


def _signature(seal: str, key: bytes) -> str:
    return hmac.new(
        key, f"trackside receipt {FORMAT_VERSION}\n{seal}".encode(), "sha256"
    ).hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text of plain values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode("ascii")


def key_of(path: Path, folder: Path, option: str = "key") -> bytes:
    """The key in a file.

    Args:
        path: The file; its bytes are the key.
        folder: The run's, in which no key may lie: who can change the run could read it.
        option: Name of the option that named the file.

    Raises:
        ConfigurationError: It can't be read, is too short, or lies in the folder.
    """
    if path.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(
            f"the key {path} lies in the folder of the run that it is to protect",
            remedy="keep it where only you can read it",
            option=option,
        )
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the key {path} can't be read: {error.strerror}", option=option
        ) from error
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"the key {path} has {len(key)} bytes",
            expected=f"{SHORTEST_KEY} or more that nobody can guess",
            remedy=f"head -c 32 /dev/urandom > {path}",
            option=option,
        )
    return key


def write(folder: Path, receipt: Receipt) -> None:
    """Write the receipt of a run into its folder. Raises `OSError`."""
    entries = [asdict(entry) for entry in receipt.entries]
    signature = None
    if receipt.signature is not None:
        signature = {"method": METHOD, "value": receipt.signature}
    content = {"format_version": FORMAT_VERSION, "entries": entries, "signature": signature}
    replace_inside(folder, RECEIPT, json.dumps(content, indent=1, default=str) + "\n")


def read(folder: Path) -> Receipt:
    """The receipt in the folder of a run.

    Raises:
        UsageError: There is none, or the file isn't a receipt of this format.
    """
    path = folder / RECEIPT
    try:
        content = json.loads(read_inside(folder, RECEIPT, limit_bytes=_LIMIT_BYTES))
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"it has format {content['format_version']}, not {FORMAT_VERSION}")
        entries = tuple(map(_entry, content["entries"]))
        if not entries:
            raise ValueError("it has no entries")
        signature = content["signature"]
        value = None if signature is None else str(signature["value"])
        return Receipt(entries, value)
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} has no receipt: {RECEIPT} is missing",
            expected="a run that has ended, with the callback `Receipt`",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} must be a receipt", received=str(error)) from error


def _entry(fields: Mapping[str, Any]) -> Entry:
    name, content, digest = fields["name"], fields["content"], fields["digest"]
    if (type(name), type(content), type(digest)) != (str, dict, str):
        raise ValueError("it has no entries that can be read")
    return Entry(name, content, digest)


def sha256_of_file(folder: Path, name: str, *, limit_bytes: int | None = None) -> str | None:
    """SHA-256 of a plain file in the folder, or of its beginning, in hex; None where none is.

    Raises:
        OSError: It can't be read, or is a link, a pipe or a device.
    """
    found = hashlib.sha256()
    left = limit_bytes
    try:
        with open_inside(folder, name) as stream:
            while part := stream.read(2**20 if left is None else min(2**20, left)):
                found.update(part)
                left = None if left is None else left - len(part)
    except FileNotFoundError:
        return None
    return found.hexdigest()
