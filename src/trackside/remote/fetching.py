"""Fetching: from a remote folder into a mirror, each file verified before it has its name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, final

import xxhash

from trackside.checkpoint.errors import NoValidCheckpointError
from trackside.checkpoint.files import digest_of
from trackside.checkpoint.ledger import Entry, Ledger
from trackside.checkpoint.lineage import Return, left_behind
from trackside.checkpoint.manifest import folder_name
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
        self.address = store.address

    def files(self, contents: Contents) -> None:
        """Bring the files of the run, where they aren't there as they are, and its lineage.

        Raises:
            RemoteError: One isn't what was uploaded.
        """
        if contents.run_id:
            self._mirror.adopt(contents.run_id, contents.returns)
        for name, stored in contents.files.items():
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
    which: str | int,
    entries: Iterable[Entry],
    returns: Sequence[Return],
    retention: Retention | None,
) -> list[Entry]:
    """The checkpoints of a run that `which` can mean, the one that is meant first.

    As for a folder of this machine: what the run has left behind, when it was taken back to an
    earlier one, is only meant by its step.

    Args:
        which: `auto`, `best`, or a step.
        entries: Its checkpoints.
        returns: Where it was taken back.
        retention: Knows the metric of the best; without one, none is the best.
    """
    newest = sorted(entries, key=lambda one: one.sequence, reverse=True)
    left = left_behind((one.sequence for one in newest), returns)
    if which not in ("auto", "best"):
        at_step = [one for one in newest if one.step == int(which)]
        return sorted(at_step, key=lambda one: one.sequence in left)
    of_the_line = [one for one in newest if one.sequence not in left]
    if which == "auto":
        return of_the_line
    if retention is None or retention.monitor is None:
        return []
    return best_first(of_the_line, retention.monitor, retention.mode)


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
    over. Where the mirror has all that is there, it may have more: saved, and not uploaded when the
    process was killed.
    """
    there = {kept.entry.manifest_digest: kept for kept in contents.of_run(run_id)}
    here = {entry.manifest_digest: (path, entry) for path, entry in mirror.saved(run_id)}
    entries, returns = [kept.entry for kept in there.values()], contents.returns
    if mirror.knows(contents.session):
        entries += [entry for digest, (_, entry) in here.items() if digest not in there]
        returns = mirror.returns(run_id)
    passed_over = 0
    for wanted in newest_first(which, entries, returns, retention):
        digest = wanted.manifest_digest
        report = verify(here[digest][0]) if digest in here else None
        if report is not None and report.ok:
            return report.path
        try:
            if digest in there:
                return fetcher.checkpoint(there[digest])
            logger.warning("passed over %s", report)
        except RemoteError as error:
            logger.warning("passed over %s: %s", wanted.name, error)
        passed_over += 1
    if passed_over:  # to begin again in silence would throw the work away
        raise NoValidCheckpointError(
            f"none of the {passed_over} checkpoints in {fetcher.address} can be trusted; "
            "warnings say why",
            remedy="restore one from a copy, or begin again at another address",
        )
    return None


def _renamed(kept: Kept, name: str) -> Entry:
    return replace(kept.entry, name=name)
