"""The ledger: which checkpoints in a folder a run has written, and where it was taken back.

One file per run, so that two runs in one folder don't eat each other's. An entry is made before its
checkpoint gets its final name, and names the digest of its manifest: a folder that the run wrote is
always listed, and a folder that another program put in its place is not the one that is listed.
Only what is listed may be deleted by the run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.files import explain, read_regular, replace_file
from trackside.checkpoint.lineage import Return
from trackside.checkpoint.manifest import LIMIT_BYTES, Manifest, read_manifest
from trackside.checkpoint.sealed import seal, unseal
from trackside.checkpoint.temporary import temporary_name

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint that the run has written."""

    name: str
    """Of its folder."""
    step: int
    sequence: int
    """Number of the save: the newest has the highest."""
    manifest_digest: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    pinned: bool = False
    """Whether retention never deletes it."""
    again: bool = False
    """Whether it holds the weights of the entry before, at a later point of the same step."""

    @classmethod
    def of(
        cls,
        name: str,
        manifest: Manifest,
        manifest_digest: str,
        *,
        pinned: bool,
        again: bool = False,
    ) -> Entry:
        """The entry for a checkpoint."""
        metrics = dict(manifest.metrics)
        return cls(name, manifest.step, manifest.sequence, manifest_digest, metrics, pinned, again)


@final
class Ledger:
    """The checkpoints of one run in one folder. Every change is on the disk when the call returns.

    Args:
        root: The folder with the checkpoints.
        run_id: Which run; a resumed run keeps its id.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.run_id = run_id
        self.note: str | None = None
        """Notes for a person about the ledger as it was found."""
        self._entries: dict[str, Entry] = {}
        self._resumed_from: str | None = None
        self._returns: tuple[Return, ...] = ()
        self._load()

    @property
    def path(self) -> Path:
        """The file."""
        return _path(self.root, self.run_id)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that are listed, oldest first."""
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.sequence))

    @property
    def resumed_from(self) -> str | None:
        """Name of the checkpoint that the run went on from, until a newer one is verified."""
        return self._resumed_from

    @property
    def returns(self) -> tuple[Return, ...]:
        """The resumes from another checkpoint than the newest, the oldest first."""
        return self._returns

    def present(self) -> list[Entry]:
        """The entries whose folders are there and are what this run wrote, oldest first."""
        return [entry for entry in self.entries if self.is_mine(entry)]

    def is_mine(self, entry: Entry) -> bool:
        """Whether the folder of that name holds the checkpoint that the entry is about."""
        folder = self.root / entry.name
        if folder.is_symlink():
            return False
        try:
            return read_manifest(folder)[1] == entry.manifest_digest
        except DamagedCheckpointError:
            return False

    def add(self, entry: Entry) -> None:
        """List a checkpoint."""
        self._entries[entry.name] = entry
        self._store()

    def remove(self, *names: str) -> None:
        """No longer list these."""
        for name in names:
            self._entries.pop(name, None)
        self._store()

    def protect(self, name: str | None, taken_back: Return | None = None) -> None:
        """Keep the checkpoint `name`, from which the run goes on, until `protect(None)`.

        Args:
            name: Its folder's.
            taken_back: Saves that the run leaves behind by going on from there.
        """
        self._resumed_from = name
        if taken_back is not None:
            self._returns = (*self._returns, taken_back)
        self._store()

    def adopt(self, returns: Iterable[Return]) -> None:
        """Take these for the returns of the run, which went on in another folder meanwhile."""
        self._returns = tuple(returns)
        self._store()

    def _load(self) -> None:
        try:
            content = _content(self.root, self.run_id)
            entries = [Entry(**entry) for entry in content["entries"]]
            self._resumed_from = content["resumed_from"]
            self._returns = _returns(content)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._set_aside(error)
            return
        # An entry without its folder is that of a save that was killed before it was done.
        self._entries = {e.name: e for e in entries if os.path.isdir(self.root / e.name)}

    def _set_aside(self, error: Exception) -> None:
        reason = explain(error) if isinstance(error, OSError) else str(error)
        aside = self.path.with_suffix(f".damaged-{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # unreadable and unmovable: the next _store will say so
            os.rename(self.path, aside)
        self.note = (
            f"{self.path} is damaged ({reason}) and was put aside as {aside.name}; "
            "the checkpoints that it listed are kept, and will not be deleted by retention"
        )

    def _store(self) -> None:
        content: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "run_id": self.run_id,
            "resumed_from": self._resumed_from,
            "returns": self._returns,
            "entries": [asdict(entry) for entry in self.entries],
        }
        temporary = self.root / temporary_name(self.run_id, "ledger")
        replace_file(self.path, seal(content), temporary)


def returns_of(root: Path, run_id: str) -> tuple[Return, ...]:
    """The returns that the ledger of a run lists; none where it can't be read. Changes nothing."""
    try:
        return _returns(_content(root, run_id))
    except (OSError, ValueError, KeyError, TypeError):  # the run itself will say so
        return ()


def names_listed(root: Path, run_id: str) -> frozenset[str] | None:
    """Names of the checkpoints in a run's ledger; None where none can be read. Changes nothing."""
    try:
        return frozenset(str(entry["name"]) for entry in _content(root, run_id)["entries"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(root: Path, run_id: str) -> Path:
    return root / f"ledger.{run_id}.json"


def _content(root: Path, run_id: str) -> dict[str, Any]:
    content, _ = unseal(read_regular(_path(root, run_id), limit_bytes=LIMIT_BYTES))
    if content["format_version"] != FORMAT_VERSION or content["run_id"] != run_id:
        raise ValueError("it is of another format or run")
    return content


def _returns(content: Mapping[str, Any]) -> tuple[Return, ...]:
    return parse_returns(content.get("returns", ()))  # older ledgers have none


def parse_returns(listed: Iterable[Any]) -> tuple[Return, ...]:
    """Returns as JSON has them. Raises `TypeError` or `ValueError` for anything else."""
    found = tuple(Return(*one) for one in listed)
    if any(type(number) is not int for one in found for number in one):
        raise ValueError("a return isn't two numbers")
    return found
