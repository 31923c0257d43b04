"""The mirror: the folder on this machine in which a run with a remote folder is written first."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.ledger import Entry, Ledger, returns_of
from trackside.checkpoint.lineage import Return
from trackside.checkpoint.manifest import (
    MANIFEST_NAME,
    Manifest,
    parse_folder_name,
    read_manifest,
)
from trackside.checkpoint.selection import candidates
from trackside.checkpoint.temporary import remove_folder
from trackside.remote.contents import is_path_inside
from trackside.run_folder.inside import replace_inside
from trackside.run_folder.names import CHECKPOINTS
from trackside.run_folder.small_files import read_json

logger = logging.getLogger("trackside")

RECORD = "remote.json"
"""Where the run is uploaded to, and which of the sessions there this mirror knows."""
HELD = ".uploading"
"""Links to files of checkpoints on their way: retention may delete the checkpoints meanwhile."""
_OF_A_RANK = re.compile(r"(shard|rank)-(\d{5})[.-].*")
_NOT_UPLOADED = frozenset({RECORD, "asked"})


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint whose files stay until they are uploaded."""

    name: str
    folder: Path
    manifest: Manifest
    entry: Entry

    @property
    def size_bytes(self) -> int:
        """Bytes to upload."""
        return self.manifest.size_bytes


@final
class Mirror:
    """A run's folder on this machine.

    Args:
        folder: It.
        checkpoints: Where its checkpoints lie.
        rank: Of this process.
    """

    def __init__(self, folder: Path, checkpoints: Path, rank: int = 0) -> None:
        self.folder, self.checkpoints, self.rank = folder, checkpoints, rank

    @property
    def place(self) -> str:
        """Where the checkpoints lie below the run's folder; the name of a folder elsewhere."""
        if self.checkpoints.is_relative_to(self.folder):
            return self.checkpoints.relative_to(self.folder).as_posix()
        return self.checkpoints.name

    # --- checkpoints on their way --------------------------------------------------------------

    def hold(self, path: Path, run_id: str) -> Held | None:
        """Keep the files of a checkpoint until `let_go`; None where it isn't there any more."""
        entries = {entry.name: entry for entry in Ledger(self.checkpoints, run_id).entries}
        entry = entries.get(path.name)
        try:
            manifest, digest = read_manifest(path)
        except DamagedCheckpointError:
            return None
        if entry is None or entry.manifest_digest != digest:
            entry = Entry.of(path.name, manifest, digest, pinned=False)
        folder = self.folder / HELD / f"{path.name}.{self.rank}.{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True)
            for name in (MANIFEST_NAME, *(file.name for file in manifest.files)):
                os.link(path / name, folder / name, follow_symlinks=False)
        except FileNotFoundError:  # deleted by retention at this moment
            remove_folder(folder)
            return None
        except OSError as error:
            logger.debug("files are uploaded from where they are: no links here (%s)", error)
            remove_folder(folder)
            folder = path
        return Held(path.name, folder, manifest, entry)

    def let_go(self, held: Held) -> None:
        """Give up the links."""
        if held.folder.parent.name == HELD:
            remove_folder(held.folder)

    def let_all_go(self) -> None:
        """Remove links that a killed process left."""
        remove_folder(self.folder / HELD)

    def whole(self, run_id: str) -> list[Path]:
        """Folders of this run's checkpoints, oldest first."""
        found = candidates(self.checkpoints, run_id=run_id)
        return [one.path for one in reversed(found) if one.manifest is not None]

    def saved(self, run_id: str) -> list[tuple[Path, Entry]]:
        """Folders of this run's checkpoints, oldest first, and what a ledger says of them."""
        return [
            (path, Entry.of(path.name, *read_manifest(path), pinned=False))
            for path in self.whole(run_id)
        ]

    def returns(self, run_id: str) -> tuple[Return, ...]:
        """Where the run was taken back to an earlier checkpoint, oldest first."""
        return returns_of(self.checkpoints, run_id)

    def adopt(self, run_id: str, returns: Sequence[Return]) -> None:
        """Take these for the returns of the run. Raises `OSError`."""
        if tuple(returns) != self.returns(run_id):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            Ledger(self.checkpoints, run_id).adopt(returns)

    def set_aside(self, run_id: str, known: Collection[str]) -> list[Path]:
        """Rename checkpoints of a run that are not `known` (digests of manifests): no candidates.

        The run went on elsewhere from an earlier one. Returns where they are now.
        """
        moved = []
        for path in self.whole(run_id):
            if read_manifest(path)[1] in known:
                continue
            aside = path.with_name(f"aside-{path.name}-{secrets.token_hex(4)}")
            os.rename(path, aside)
            moved.append(aside)
        return moved

    # --- other files ---------------------------------------------------------------------------

    def files(self) -> Iterator[str]:
        """Paths of the run's files below the folder, with `/`; without its checkpoints."""
        for place, folders, names in os.walk(self.folder):
            here = Path(place)
            at_checkpoints = here == self.checkpoints
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".")
                and not (here / name).is_symlink()
                and not (here == self.folder and name in _NOT_UPLOADED)
                and not (at_checkpoints and _is_of_checkpoints(name))
            )
            for name in sorted(names):
                path = here / name
                if name.startswith(".") or path.is_symlink() or not path.is_file():
                    continue
                if (here == self.folder and name in _NOT_UPLOADED) or (
                    at_checkpoints and name.startswith("ledger.")
                ):
                    continue
                inside = path.relative_to(self.folder).as_posix()
                if is_path_inside(inside):
                    yield inside
                else:
                    logger.warning("%r is not uploaded: its name is too long, or odd", inside)

    # --- what is known of the remote folder ----------------------------------------------------

    def knows(self, session: str) -> bool:
        """Whether the mirror has all that a session has uploaded."""
        known = read_json(self.folder / RECORD).get("sessions")
        return isinstance(known, list) and session in known

    def record(self, address: str, sessions: list[str]) -> None:
        """Write down where the run is uploaded to, and the sessions that it knows. `OSError`."""
        is_inside = self.checkpoints.is_relative_to(self.folder)
        content = {
            "address": address,
            "checkpoints": self.place if is_inside else str(self.checkpoints.absolute()),
            "sessions": [one for one in sessions if one],
        }
        replace_inside(self.folder, RECORD, json.dumps(content, indent=1) + "\n")


def checkpoints_of(folder: Path, run_id: str) -> Path:
    """The folder of a run's checkpoints: the one that was recorded, or that holds its ledger."""
    recorded = read_json(folder / RECORD).get("checkpoints")
    if isinstance(recorded, str):
        return folder / recorded
    found = sorted(folder.rglob(f"ledger.{run_id}.json"))
    return found[0].parent if found else folder / CHECKPOINTS


def recorded_address(folder: Path) -> str | None:
    """Where the run in `folder` is uploaded to; None where nothing says so."""
    address = read_json(folder / RECORD).get("address")
    return address if isinstance(address, str) else None


def rank_of(name: str) -> int:
    """The rank that wrote a file of a checkpoint."""
    match = _OF_A_RANK.fullmatch(name)
    if match is None:
        return 0
    return int(match[2]) - (match[1] == "shard")  # shards are counted from 1


def _is_of_checkpoints(name: str) -> bool:
    return parse_folder_name(name) is not None or name.startswith("aside-")
