"""From snapshots to a checkpoint: written under a temporary name, flushed, then renamed.

Every rank writes its own files into one folder; rank 0 makes it, adds the manifest and gives it
the final name. What fails on one rank is raised on all; the former checkpoints stay as they are.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trackside.checkpoint.delegation import WritePieces
from trackside.checkpoint.errors import CheckpointWriteError
from trackside.checkpoint.files import FileEntry, flush_folder, write_file
from trackside.checkpoint.ledger import Entry, Ledger
from trackside.checkpoint.manifest import (
    MANIFEST_NAME,
    STATE_NAME,
    Manifest,
    current_versions,
    folder_name,
    parse_manifest,
    rank_file_name,
)
from trackside.checkpoint.ranks import Ranks, together
from trackside.checkpoint.record_file import RecordFile
from trackside.checkpoint.snapshot import Snapshot
from trackside.checkpoint.splitting import Json
from trackside.checkpoint.temporary import TemporaryFolder


@dataclass(frozen=True, slots=True)
class Saving:
    """Metadata of a save: all that is recorded besides the state."""

    step: int
    """Steps completed."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """Counters of what is done: JSON-like."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values that belong to these weights, by full name. Those that aren't finite are left out."""
    reason: str = ""
    """Why: a schedule, a signal, a callback's request."""
    pinned: bool = False
    """Whether retention never deletes it."""
    again: bool = False
    """Whether it holds the weights of the save before, at a later point of the same step: retention
    then no longer counts that one."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that is whole, flushed, and under its final name."""

    path: Path
    manifest: Manifest
    seconds_writing: float
    """From the snapshot to the final name."""
    seconds_blocked: float = 0.0
    """How long `save` kept the loop: waiting for the former save, and copying."""
    deleted: tuple[str, ...] = ()
    """Names of the checkpoints that retention removed after it."""
    notes: tuple[str, ...] = ()
    """Notes for a person: above all, what could not be deleted, and why."""


def commit(
    snapshot: Snapshot | Exception,
    saving: Saving,
    *,
    root: Path,
    run_id: str,
    sequence: int,
    ranks: Ranks,
    ledger: Ledger | None,
    records: RecordFile | None = None,
    write: WritePieces | None = None,
) -> Saved:
    """Write a checkpoint. Called by every rank; each gets the same result or an error.

    Args:
        snapshot: This rank's part, or why it could not be taken: then there is no checkpoint.
        saving: Metadata of the save.
        root: Folder of the checkpoints; it exists.
        run_id: Whose checkpoint it is.
        sequence: Number of the save.
        ranks: The processes that write it together.
        ledger: Of the run, on rank 0.
        records: The file of the run's records, on rank 0; needed where the state has a history.
        write: Writes this rank's tensors; None: `storage.write_pieces`, in this thread.

    Raises:
        CheckpointWriteError: with the operating system's error as its cause.
    """
    started = time.perf_counter()
    taken = _taken(snapshot, ranks)

    def write_part(folder: Path) -> _Part:
        return _write_part(folder, taken, ranks.rank, records, write)

    if ranks.rank != 0:
        path, manifest = _follow(write_part, ranks)
    else:
        assert ledger is not None, "rank 0 keeps the ledger"
        path, manifest = _lead(write_part, saving, root, run_id, sequence, ranks, ledger)
    return Saved(Path(path), manifest, time.perf_counter() - started)


def _taken(snapshot: Snapshot | Exception, ranks: Ranks) -> Snapshot:
    """The snapshot, once all ranks have theirs."""

    def see() -> None:
        if isinstance(snapshot, Exception):
            raise snapshot
        snapshot.wait()

    together(ranks, see)
    assert isinstance(snapshot, Snapshot), "raised above"
    return snapshot


def _lead(
    write_part: Callable[[Path], _Part],
    saving: Saving,
    root: Path,
    run_id: str,
    sequence: int,
    ranks: Ranks,
    ledger: Ledger,
) -> tuple[str, Manifest]:
    """Rank 0's way through a commit."""
    with contextlib.ExitStack() as stack:
        made: list[TemporaryFolder] = []
        written: list[Manifest] = []

        def make() -> str:
            name = folder_name(saving.step)
            made.append(stack.enter_context(TemporaryFolder(root, run_id, name)))
            return str(made[0].path)

        together(ranks, make)
        [folder] = made
        parts = together(ranks, lambda: asdict(write_part(folder.path)))

        def finish() -> tuple[str, bytes]:
            manifest = Manifest(
                run_id=run_id,
                step=saving.step,
                sequence=sequence,
                files=_check_parts(folder.path, [_Part.told(part) for part in parts]),
                world_size=ranks.size,
                progress=dict(saving.progress),
                metrics={k: float(v) for k, v in saving.metrics.items() if math.isfinite(v)},
                reason=saving.reason,
                saved_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                versions=current_versions(),
            )
            written.append(manifest)
            sealed, digest = manifest.sealed()
            write_file(folder.path / MANIFEST_NAME, sealed)
            return _publish(folder, manifest, digest, saving, ledger), sealed

        path, _ = together(ranks, finish)[0]
        return path, written[0]


def _follow(write_part: Callable[[Path], _Part], ranks: Ranks) -> tuple[str, Manifest]:
    """The way of the other ranks through a commit: the same three turns."""
    folder = Path(together(ranks, _listen)[0])
    together(ranks, lambda: asdict(write_part(folder)))
    path, sealed = together(ranks, _listen)[0]
    return path, parse_manifest(sealed)[0]


def _listen() -> Any:
    """Take part in rank 0's turn without contributing."""
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    """A rank's report to rank 0 about the files it wrote."""

    files: tuple[FileEntry, ...]
    held: dict[str, tuple[int, int]]
    """Of sharded tensors: how many values this rank wrote, and how many there are."""

    @classmethod
    def told(cls, fields: Mapping[str, Any]) -> _Part:
        """As it was before `asdict`: ranks send each other plain values."""
        return cls(tuple(FileEntry(**file) for file in fields["files"]), fields["held"])


def _write_part(
    folder: Path,
    snapshot: Snapshot,
    rank: int,
    records: RecordFile | None,
    write: WritePieces | None,
) -> _Part:
    """Write one rank's files, each flushed."""
    from trackside.checkpoint.storage import write_pieces  # noqa: PLC0415 - start-up time

    files = (write or write_pieces)(folder, snapshot.pieces, rank)
    if rank == 0:
        files.append(write_file(folder / STATE_NAME, _json(snapshot.state)))
    if snapshot.history is not None:
        assert records is not None, "a history needs its file"
        files.append(records.put_into(folder, snapshot.history))
    if snapshot.rank_state is not None:
        files.append(write_file(folder / rank_file_name(rank), _json(snapshot.rank_state)))
    held = {
        piece.key: (piece.tensor.numel(), math.prod(piece.whole_shape))
        for piece in snapshot.shards  # all others are whole
        if tuple(piece.tensor.shape) != piece.whole_shape
    }
    return _Part(tuple(files), held)


def _json(skeleton: Json) -> bytes:
    # One line: a state can have a million leaves, and its reader is `trackside inspect`.
    return json.dumps(skeleton, separators=(",", ":"), allow_nan=False).encode("ascii")


def _check_parts(folder: Path, parts: list[_Part]) -> tuple[FileEntry, ...]:
    """All files, once rank 0 sees each of them, and the shards of the ranks make whole tensors."""
    files = tuple(file for part in parts for file in part.files)
    for file in files:
        path = folder / file.name
        found = path.stat().st_size if path.exists() else 0
        if found != file.size_bytes:
            raise CheckpointWriteError(
                f"rank 0 sees {found} bytes in {path}, its writer wrote {file.size_bytes}",
                remedy="let all ranks write to one file system that all of them see",
            )
    held: dict[str, int] = {}
    whole: dict[str, int] = {}
    for part in parts:
        for key, (count, total) in part.held.items():
            held[key] = held.get(key, 0) + count
            whole[key] = total
    for key, total in whole.items():
        if held[key] != total:
            raise CheckpointWriteError(
                f"the ranks wrote {held[key]} of the {total} values of {key}",
                remedy="every rank has to save the same sharded state",
            )
    return files


def _publish(
    folder: TemporaryFolder, manifest: Manifest, digest: str, saving: Saving, ledger: Ledger
) -> str:
    """Flush the folder and give it a name that nothing has. Returns the path."""
    root = folder.path.parent
    folder.unlock()
    flush_folder(folder.path)
    attempt = 0
    while True:
        attempt += 1
        name = folder_name(saving.step, attempt)
        if os.path.lexists(root / name):  # a checkpoint is never overwritten
            continue
        ledger.add(Entry.of(name, manifest, digest, pinned=saving.pinned, again=saving.again))
        try:
            folder.rename(root / name)
        except OSError as error:
            ledger.remove(name)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another run was faster
                continue
            raise
        flush_folder(root)
        return str(root / name)
