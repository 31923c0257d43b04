"""Sending: files of a mirror become objects, and the ledger that names them comes last."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import xxhash

from trackside.checkpoint import lineage
from trackside.checkpoint.files import digest_of_bytes, open_regular
from trackside.checkpoint.manifest import MANIFEST_NAME, folder_name
from trackside.checkpoint.retention import Retention, to_delete
from trackside.remote.claim import RemoteClaim
from trackside.remote.contents import (
    LEDGERS,
    LIMIT_BYTES,
    OBJECTS,
    Contents,
    Kept,
    Part,
    Stored,
    is_object,
    object_name,
    session_of,
)
from trackside.remote.mirror import Held, Mirror, rank_of
from trackside.remote.patience import Patience
from trackside.remote.store import LocalChangeError, Store

BLOCK_BYTES = 4 * 2**20
"""Size of the pieces of files that may grow: what is there already is not sent again."""


class LostClaimError(Exception):
    """Another run has taken the remote folder."""


@dataclass(slots=True)
class Left:
    """Count of what is still to be sent of one checkpoint. One thread changes it, others read."""

    files: int = 0
    size_bytes: int = 0
    partly_bytes: int = 0
    """Sent of the file that is under way."""

    def begin(self, held: Held) -> None:
        """All of a checkpoint is to be sent."""
        self.files, self.size_bytes = len(held.manifest.files), held.size_bytes
        self.partly_bytes = 0

    def end(self) -> None:
        """Nothing is."""
        self.files = self.size_bytes = self.partly_bytes = 0

    def done(self, size_bytes: int) -> None:
        """A file of that size is there."""
        self.files -= 1
        self.size_bytes -= size_bytes
        self.partly_bytes = 0


@final
class Sender:
    """Writes a run into its remote folder. For one thread.

    Args:
        store: The remote folder.
        session: Name of this session.
        mirror: Where the files are.
        contents: The ledger as it is there.
        patience: Calls the store.
        left: Counts what waits.
        rank: Of this process.
    """

    def __init__(
        self,
        store: Store,
        session: str,
        mirror: Mirror,
        contents: Contents,
        patience: Patience,
        left: Left,
        rank: int = 0,
    ) -> None:
        self.contents = contents
        self._store, self._session, self._mirror = store, session, mirror
        self._patience, self._left, self._rank = patience, left, rank
        self._unchanged: dict[str, tuple[tuple[int, int, int], Stored]] = {}
        self._former: set[str] = set()
        """Objects of the ledger before the newest."""
        self._sent: dict[tuple[str, int], Part] = {}

    def clean(self) -> None:
        """Remove objects of former sessions that no ledger names: of uploads that were killed."""
        needed = self.contents.objects()
        leftovers = [
            name
            for name in self._patience(self._store.names, OBJECTS)
            if is_object(name) and name not in needed and session_of(name) != self._session
        ]
        self._patience(self._store.remove, leftovers)

    def files(self) -> dict[str, Stored]:
        """Send what is new of the run's files; all of them as they are stored now."""
        found: dict[str, Stored] = {}
        for name in self._mirror.files():
            try:
                found[name] = self._file(name)
            except LocalChangeError:  # removed at this moment: no longer a file of the run
                continue
        # A file that comes back later is sent again: its objects are gone by then.
        self._unchanged = {name: one for name, one in self._unchanged.items() if name in found}
        return found

    def checkpoint(self, held: Held, run_id: str, others: Mapping[str, Part]) -> Kept:
        """Send the files of a checkpoint that aren't there yet.

        Args:
            held: The checkpoint.
            run_id: Whose it is.
            others: Files that other ranks have sent, by name.

        Raises:
            LocalChangeError: It can't be read, or has changed.
        """
        files: dict[str, Stored] = {}
        for entry in held.manifest.files:
            path = held.folder / entry.name
            if entry.name in others:
                files[entry.name] = Stored(entry.size_bytes, entry.digest, (others[entry.name],))
            elif entry.grows:
                files[entry.name] = self._blocks(path, entry.size_bytes)
                if files[entry.name].digest != entry.digest:
                    raise LocalChangeError(f"{path} has changed since it was written")
            else:
                part = self.whole(path, entry.size_bytes, entry.digest)
                files[entry.name] = Stored(entry.size_bytes, entry.digest, (part,))
            self._left.done(entry.size_bytes)
        files[MANIFEST_NAME] = self._blocks(held.folder / MANIFEST_NAME, None)
        return Kept(held.entry, run_id, files)

    def whole(self, path: Path, size_bytes: int, digest: str) -> Part:
        """Send a file that never changes as one object, unless it is there."""
        known = self._known(digest, size_bytes)
        if known is not None:
            return known
        name = object_name(digest, size_bytes, self._session, self._rank)
        self._patience(self._attempt, name, path, size_bytes, digest)
        return self._has_sent(Part(name, size_bytes, digest))

    def share(self, held: Held) -> None:
        """Send what this rank, which isn't rank 0, wrote of a checkpoint."""
        for entry in held.manifest.files:
            if rank_of(entry.name) == self._rank and not entry.grows:
                self.whole(held.folder / entry.name, entry.size_bytes, entry.digest)

    def publish(self, contents: Contents, claim: RemoteClaim) -> None:
        """Write the ledger, and remove what neither it nor the former one needs.

        Raises:
            LostClaimError: Another run has taken the folder; nothing was changed.
        """
        if not claim.is_mine(self._patience):
            raise LostClaimError
        former = self.contents.objects()
        # Of two ledgers, the older one stays readable: for who is reading, and if this one is lost.
        older, self._former = self._former, former
        written = self.contents.written + 1
        new = replace(contents, written=written, session=self._session)
        self._patience(self._write, LEDGERS[written % 2], new.to_bytes())
        self.contents = new
        needed = new.objects()
        self._sent = {key: part for key, part in self._sent.items() if part.name in needed}
        self._patience(self._store.remove, sorted(older - former - needed))

    def _write(self, name: str, data: bytes) -> None:
        self._store.put(name, data)
        if self._store.get(name, LIMIT_BYTES) != data:
            raise OSError(f"{name} reads back as something else")

    def _attempt(self, name: str, path: Path, size_bytes: int, digest: str) -> None:
        self._left.partly_bytes = 0
        try:
            self._store.send(name, path, size_bytes, digest, self._count)
        except LocalChangeError:
            self._store.remove([name])  # another rank must not take it for whole
            raise
        there = self._store.size(name)
        if there != size_bytes:
            raise OSError(f"{name} has {there} bytes there instead of {size_bytes}")

    def _count(self, size_bytes: int) -> None:
        self._left.partly_bytes += size_bytes

    def _file(self, name: str) -> Stored:
        path = self._mirror.folder / name
        try:
            status = path.stat()
        except OSError as error:
            raise LocalChangeError(f"{path} can't be read: {error.strerror}") from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._unchanged.get(name)
        if known is None or known[0] != stamp:
            known = self._unchanged[name] = (stamp, self._blocks(path, None))
        return known[1]

    def _blocks(self, path: Path, size_bytes: int | None) -> Stored:
        """Send a file in pieces, of which those that are there are not sent again."""
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                left = os.fstat(file.fileno()).st_size if size_bytes is None else size_bytes
                whole, parts, total = xxhash.xxh3_128(), [], 0
                while left and (block := file.read(min(BLOCK_BYTES, left))):
                    whole.update(block)
                    parts.append(self._block(block))
                    total += len(block)
                    left -= len(block)
        except OSError as error:
            raise LocalChangeError(f"{path} can't be read: {error.strerror}") from error
        return Stored(total, whole.hexdigest(), tuple(parts))

    def _block(self, block: bytes) -> Part:
        digest = digest_of_bytes(block)
        known = self._known(digest, len(block))
        if known is not None:
            return known
        name = object_name(digest, len(block), self._session, self._rank)
        self._patience(self._put_block, name, block)
        return self._has_sent(Part(name, len(block), digest))

    def _put_block(self, name: str, block: bytes) -> None:
        self._store.put(name, block)
        if (there := self._store.size(name)) != len(block):
            raise OSError(f"{name} has {there} bytes there instead of {len(block)}")

    def _known(self, digest: str, size_bytes: int) -> Part | None:
        """An object with that content that is there, whole, and named by the ledger."""
        if not self._sent:
            for stored in self.contents.stored():
                for part in stored.parts:
                    self._sent[part.digest, part.size_bytes] = part
        return self._sent.get((digest, size_bytes))

    def _has_sent(self, part: Part) -> Part:
        self._sent[part.digest, part.size_bytes] = part
        return part


def with_checkpoint(contents: Contents, kept: Kept, retention: Retention) -> Contents:
    """A ledger with one more checkpoint, and without those that no rule keeps any more."""
    name, attempt = kept.entry.name, 1
    while name in contents.checkpoints:  # of an earlier run, or of steps that were taken again
        attempt += 1
        name = folder_name(kept.entry.step, attempt)
    entry = replace(kept.entry, name=name)
    checkpoints = {**contents.checkpoints, name: replace(kept, entry=entry)}
    mine = [one.entry for one in checkpoints.values() if one.run_id == kept.run_id]
    left_behind = lineage.left_behind((one.sequence for one in mine), contents.returns)
    gone = {one.name for one in to_delete(mine, retention, left_behind=left_behind)}
    left = {name: one for name, one in checkpoints.items() if name not in gone}
    return replace(contents, checkpoints=left)
