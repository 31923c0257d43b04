"""Deleting checkpoints: those of this run's ledger only, and only what their manifests list."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.files import explain
from trackside.checkpoint.ledger import Entry, Ledger
from trackside.checkpoint.lineage import left_behind
from trackside.checkpoint.manifest import MANIFEST_NAME, read_manifest
from trackside.checkpoint.reader import verify
from trackside.checkpoint.retention import Retention, to_delete
from trackside.checkpoint.temporary import remove_folder, temporary_name


@dataclass(frozen=True, slots=True)
class Pruned:
    """Result of a clean-up."""

    deleted: tuple[str, ...] = ()
    """Names of the checkpoints that are gone."""
    notes: tuple[str, ...] = ()
    """Paths that could not be deleted, with the reason."""


def prune(ledger: Ledger, retention: Retention) -> Pruned:
    """Delete what no rule of `retention` keeps. To be called after a checkpoint was committed.

    Raises:
        OSError: when the ledger can't be written.
    """
    if retention.keeps_all:
        return Pruned()
    present = ledger.present()
    deleted: list[str] = []
    notes: list[str] = []
    left = left_behind((entry.sequence for entry in present), ledger.returns)
    protected = _protected(ledger, present)
    for entry in to_delete(present, retention, protected=protected, left_behind=left):
        note = _delete(ledger, entry)
        if note is None:
            deleted.append(entry.name)
        else:
            notes.append(note)
    if deleted:
        ledger.remove(*deleted)
    return Pruned(tuple(deleted), tuple(notes))


def _protected(ledger: Ledger, present: list[Entry]) -> set[str]:
    """The checkpoint that the run went on from, until a newer one is known to be good."""
    name = ledger.resumed_from
    if name is None:
        return set()
    origin = next((entry for entry in present if entry.name == name), None)
    newest = present[-1] if present else None
    is_newer = origin is None or (newest is not None and newest.sequence > origin.sequence)
    if newest is not None and is_newer and verify(ledger.root / newest.name).ok:
        ledger.protect(None)
        return set()
    return {name}


def _delete(ledger: Ledger, entry: Entry) -> str | None:
    """Delete one checkpoint. Returns what prevented it, or None."""
    folder = ledger.root / entry.name
    try:
        # Once more, right before: between two saves another program may have put its folder there.
        manifest, digest = read_manifest(folder)
        if digest != entry.manifest_digest or folder.is_symlink():
            return f"{folder} was not deleted: it is not what this run wrote"
        ours = {MANIFEST_NAME, *(file.name for file in manifest.files)}
        if set(os.listdir(folder)) - ours:
            _delete_files(folder, ours)
            return None
        # First out of the way in one step: a kill in between leaves no half checkpoint.
        away = ledger.root / temporary_name(ledger.run_id, f"deleted-{entry.name}")
        os.rename(folder, away)
    except DamagedCheckpointError as error:
        return f"{folder} was not deleted: {error.problems[0]}"
    except OSError as error:
        return f"{folder} was not deleted: {explain(error)}"
    problem = remove_folder(away)
    return None if problem is None else f"{away} was not deleted: {problem}"


def _delete_files(folder: Path, ours: set[str]) -> None:
    """Delete the checkpoint from a folder that holds other files as well."""
    # The manifest first: without it the folder is not a checkpoint.
    for name in sorted(ours, key=lambda name: name != MANIFEST_NAME):
        (folder / name).unlink(missing_ok=True)
