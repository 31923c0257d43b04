"""Fetching: from a remote folder into a mirror, each file verified before it has its name."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, final

import xxhash

from trackside.checkpoint.files import digest_of
from trackside.checkpoint.ledger import Entry, Ledger
from trackside.checkpoint.manifest import folder_name, read_manifest
from trackside.checkpoint.reader import verify
from trackside.checkpoint.retention import Retention, best_first
from trackside.checkpoint.temporary import TemporaryFolder
from trackside.errors import CheckpointError
from trackside.remote.contents import LEDGERS, LIMIT_BYTES, Contents, Kept, Part, Stored, parse
from trackside.remote.mirror import Mirror
from trackside.remote.patience import Patience
from trackside.remote.store import Store
from trackside.run_folder.inside import write_inside

logger = logging.getLogger("trackside")


class RemoteError(CheckpointError):
    """A remote folder holds something else than what was uploaded."""


def read_contents(store: Store, patience: Patience) -> Contents:
    """The newest whole ledger of a remote folder; an empty one where there is none.

    Raises:
        RemoteError: No ledger is whole.
        GivenUpError: The store didn't answer.
    """
    found: list[Contents] = []
    problems: list[str] = []
    for name in LEDGERS:
        try:
            data = patience(store.get, name, LIMIT_BYTES, answers=(FileNotFoundError,))
            found.append(parse(data))
        except FileNotFoundError:
            continue
        except ValueError as error:
            problems.append(f"{name}: {error}")
    # Both are there before the first object is: a single one that isn't whole was the first.
    if not found and len(problems) == len(LEDGERS):
        raise RemoteError(
            f"no ledger in {store.address} is whole: " + "; ".join(problems),
            remedy="restore one from a copy, or choose another address; nothing was changed",
        )
    return max(found, key=lambda one: one.written, default=Contents())


@final
class Fetcher:
    """Brings files of a remote folder into a mirror.

    Args:
        store: The remote folder.
        mirror: Where they go.
        patience: Calls the store.
    """

    def __init__(self, store: Store, mirror: Mirror, patience: Patience) -> None:
        self._store, self._mirror, self._patience = store, mirror, patience

    def files(self, contents: Contents, names: Iterable[str] | None = None) -> None:
        """Bring files of the run, where they aren't there as they are.

        Args:
            contents: The ledger.
            names: Which; None brings all.

        Raises:
            RemoteError: One isn't what was uploaded.
        """
        for name in contents.files if names is None else names:
            stored = contents.files[name]
            if not self._is_there(name, stored):
                write_inside(self._mirror.folder, name, partial(self._write, stored))

    def checkpoint(self, kept: Kept) -> Path:
        """Bring a checkpoint, as a whole. Returns its folder.

        Raises:
            RemoteError: It isn't what was uploaded.
        """
        root = self._mirror.checkpoints
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(root, kept.run_id, f"fetched-{kept.entry.name}") as folder:
            for name, stored in kept.files.items():
                write_inside(folder.path, name, partial(self._write, stored))
            report = verify(folder.path)
            manifest = report.manifest
            problems = list(report.problems)
            if manifest is not None and manifest.run_id != kept.run_id:
                problems.append("it is of another run than the ledger says")
            if problems:
                raise RemoteError(
                    f"{kept.entry.name} in {self._store.address} is not what was uploaded: "
                    + "; ".join(problems)
                )
            folder.unlock()
            attempt, path = 1, root / kept.entry.name
            while path.exists():
                attempt += 1
                path = root / folder_name(kept.entry.step, attempt)
            folder.rename(path)
        ledger = Ledger(root, kept.run_id)
        ledger.add(kept.entry if path.name == kept.entry.name else _renamed(kept, path.name))
        return path

    def _is_there(self, name: str, stored: Stored) -> bool:
        path = self._mirror.folder / name
        try:
            if path.lstat().st_size != stored.size_bytes:
                return False
            return digest_of(path).digest == stored.digest
        except OSError:
            return False

    def _write(self, stored: Stored, target: BinaryIO) -> None:
        whole, total = xxhash.xxh3_128(), 0
        for part in stored.parts:
            try:
                whole = self._patience(
                    self._part, part, target, total, whole, answers=(FileNotFoundError,)
                )
            except FileNotFoundError as error:
                raise RemoteError(f"{part.name} is missing in {self._store.address}") from error
            total += part.size_bytes
        if total != stored.size_bytes or whole.hexdigest() != stored.digest:
            raise RemoteError(f"a file in {self._store.address} is not what was uploaded")

    def _part(
        self, part: Part, target: BinaryIO, start: int, before: xxhash.xxh3_128
    ) -> xxhash.xxh3_128:
        """Append a part, also where an earlier attempt has written some of it; digest of all."""
        digest = before.copy()
        target.seek(start)
        target.truncate()
        for chunk in self._store.chunks(part.name, part.size_bytes):
            digest.update(chunk)
            target.write(chunk)
        return digest


def newest_first(
    which: str | int, contents: Contents, run_id: str, retention: Retention | None
) -> list[Kept]:
    """The checkpoints of a run that `which` can mean, the one that is meant first.

    Args:
        which: `auto`, `best`, or a step.
        contents: The ledger.
        run_id: Of the run.
        retention: Knows the metric of the best; without one, none is the best.
    """
    kept = contents.of_run(run_id)[::-1]
    if which == "auto":
        return kept
    if which != "best":
        return [one for one in kept if one.entry.step == int(which)]
    if retention is None or retention.monitor is None:
        return []
    by_name = {one.entry.name: one for one in kept}
    ranked = best_first([one.entry for one in kept], retention.monitor, retention.mode)
    return [by_name[entry.name] for entry in ranked]


def fetch(
    which: str | int,
    contents: Contents,
    run_id: str,
    retention: Retention | None,
    fetcher: Fetcher,
    mirror: Mirror,
) -> Path | None:
    """The checkpoint that `which` means, here or there, verified; None where there is none.

    One that is in the mirror, whole, is not fetched; one that isn't what was uploaded is passed
    over.
    """
    here = {digest: path for path, digest in mirror.digests(run_id)}
    wanted = newest_first(which, contents, run_id, retention)
    there = {kept.entry.manifest_digest for kept in wanted}
    if which == "auto":  # saved here, and not uploaded when the process was killed
        ahead = [path for path, digest in mirror.digests(run_id) if digest not in there]
        for path in reversed(ahead):
            if not wanted or _sequence(path) > wanted[0].entry.sequence:
                if (report := verify(path)).ok:
                    return path
                logger.warning("passed over %s", report)
    for kept in wanted:
        there_too = here.get(kept.entry.manifest_digest)
        if there_too is not None and verify(there_too).ok:
            return there_too
        try:
            return fetcher.checkpoint(kept)
        except RemoteError as error:
            logger.warning("passed over %s: %s", kept.entry.name, error)
    return None


def _sequence(path: Path) -> int:
    return read_manifest(path)[0].sequence


def _renamed(kept: Kept, name: str) -> Entry:
    return replace(kept.entry, name=name)
