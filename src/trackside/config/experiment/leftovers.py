"""Leftovers in a run's folder, which no ledger needs: of killed writers, and of former lives.

Nothing that a live run or a resume needs is among it: a folder that a process has is left alone,
and so is every checkpoint that the run's ledger lists and that counts. Links are neither followed
nor removed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trackside.checkpoint import candidates
from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.ledger import names_listed
from trackside.checkpoint.manifest import MANIFEST_NAME, parse_folder_name, read_manifest
from trackside.checkpoint.selection import Candidate
from trackside.checkpoint.temporary import has_writer, is_temporary_name, remove_folder
from trackside.run_folder.claim import claim, holder
from trackside.run_folder.identity import identity
from trackside.run_folder.inside import is_name_beside
from trackside.run_folder.names import CHECKPOINTS

_OF_A_RUN = re.compile(r"(?:ledger|following)\.([0-9a-zA-Z_-]+)\..+")


@dataclass(frozen=True, slots=True)
class Leftover:
    """One file or folder that nothing needs."""

    path: Path
    size_bytes: int
    why: str


@dataclass(slots=True)
class Leftovers:
    """Leftovers of one run."""

    folder: Path
    found: list[Leftover] = field(default_factory=list)
    removed: list[Leftover] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Things that were left alone, and why."""


def leftovers(folder: Path, *, former: bool = False) -> Leftovers:
    """Look for leftovers of the run in `folder`; nothing is changed.

    Args:
        folder: The run's folder.
        former: Whether checkpoints of other runs in it, and those that the run left behind when it
            was resumed from an earlier one, are leftovers as well.

    Raises:
        UsageError: The file that says which run the folder is of can't be read.
    """
    process = holder(folder)
    if process is not None:
        return Leftovers(folder, notes=[f"{folder} is left alone: {process} has it"])
    return _look(folder, former)


def remove_leftovers(folder: Path, *, former: bool = False) -> Leftovers:
    """Remove what `leftovers` finds, while no run can begin in the folder.

    Raises:
        UsageError: As `leftovers`; or a run has begun in the folder.
    """
    made = leftovers(folder, former=former)
    if not made.found:
        return made
    taken = claim(folder)
    if taken is None:
        made.notes.append(f"{folder} is left alone: a run could begin there, it can't be claimed")
        return made
    try:
        made = _look(folder, former)
        for one in made.found:
            problem = _remove(one.path)
            if problem is None:
                made.removed.append(one)
            else:
                made.notes.append(f"{one.path} was not removed: {problem}")
    finally:
        taken.release()
    return made


def _look(folder: Path, former: bool) -> Leftovers:
    """The leftovers of a folder that no other process has."""
    made = Leftovers(folder)
    made.found += _half_written(folder)
    root = folder / CHECKPOINTS
    if root.is_symlink():
        made.notes.append(f"{root} is left alone: it is a link")
    elif root.is_dir():
        made.found += _staged(root)
        if former:
            made.found += _former(root, folder, made.notes)
    return made


def _half_written(folder: Path) -> Iterator[Leftover]:
    for path in _entries(folder):
        if is_name_beside(path.name) and path.is_file():
            yield Leftover(
                path, _size(path), "a file that was half written when its run was killed"
            )


def _staged(root: Path) -> Iterator[Leftover]:
    for path in _entries(root):
        if not is_temporary_name(path.name):
            continue
        if path.is_file() or (path.is_dir() and not has_writer(path)):
            why = "a checkpoint that was being written or deleted when its run was killed"
            yield Leftover(path, _size(path), why)


def _former(root: Path, folder: Path, notes: list[str]) -> Iterator[Leftover]:
    run = identity(folder)
    if run is None:
        notes.append(f"{root}: which run it is of is not known, so none is a former one")
        return
    listed = names_listed(root, run.run_id)
    if listed is None:
        notes.append(f"{root}: the ledger of the run can't be read, so none is missing in it")
    all_of_them = candidates(root)
    newest = next((one for one in all_of_them if _counts(one, run.run_id)), None)
    if newest is None:
        notes.append(f"{root}: the run has no checkpoint of its own that is whole")
        return
    for one in all_of_them:
        if one.manifest is None:
            notes.append(f"{one.path} is left alone: {one.problem}")
        elif one.path.is_symlink():
            notes.append(f"{one.path} is left alone: it is a link")
        elif one.manifest.run_id != run.run_id:
            yield Leftover(one.path, _size(one.path), f"of another run, {one.manifest.run_id}")
        elif one.left_behind:
            yield Leftover(one.path, _size(one.path), "left behind by a resume from an earlier one")
        elif listed is not None and one.path.name not in listed and one is not newest:
            yield Leftover(one.path, _size(one.path), "not in the ledger of the run")
    for path in _entries(root):
        match = _OF_A_RUN.fullmatch(path.name)
        if match and match[1] != run.run_id and path.is_file():
            yield Leftover(path, _size(path), f"of another run, {match[1]}")


def _counts(one: Candidate, run_id: str) -> bool:
    return one.manifest is not None and one.manifest.run_id == run_id and not one.left_behind


def _entries(folder: Path) -> list[Path]:
    """Files and folders in a folder, by name, without links."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.is_symlink()]


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    found = (one.lstat() for one in path.rglob("*"))
    return sum(state.st_size for state in found if stat.S_ISREG(state.st_mode))


def _remove(path: Path) -> str | None:
    """Remove a leftover. Returns what prevented it, or None."""
    try:
        if path.is_symlink():
            return "it has become a link"
        if not path.is_dir():
            path.unlink()
            return None
        if parse_folder_name(path.name) is not None:
            ours = {MANIFEST_NAME, *(file.name for file in read_manifest(path)[0].files)}
            others = sorted(set(os.listdir(path)) - ours)
            if others:
                return f"it holds other files as well: {', '.join(others)}"
            # The manifest first: a kill in between leaves no half checkpoint that looks whole.
            os.unlink(path / MANIFEST_NAME)
    except DamagedCheckpointError as error:
        return error.problems[0]
    except OSError as error:
        return error.strerror or str(error)
    return remove_folder(path)
