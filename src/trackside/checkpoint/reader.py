"""Reading a checkpoint: first whether it is what was written, then what is in it."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import Tensor

from trackside.checkpoint.errors import DamagedCheckpointError, StateMismatchError
from trackside.checkpoint.files import FileEntry, digest_of, explain, read_regular
from trackside.checkpoint.joining import join, tensor_leaves
from trackside.checkpoint.manifest import (
    MANIFEST_NAME,
    STATE_NAME,
    Manifest,
    parse_folder_name,
    rank_file_name,
    read_manifest,
)
from trackside.checkpoint.ranks import SINGLE_RANK, Ranks
from trackside.checkpoint.record_file import RECORDS_NAME
from trackside.checkpoint.records import decode
from trackside.checkpoint.snapshot import rank_key
from trackside.checkpoint.splitting import Json, split
from trackside.checkpoint.tensors import is_sharded
from trackside.errors import CheckpointError
from trackside.history import HistorySnapshot
from trackside.machine.paths import local_path

PlacedAs = Callable[[str, tuple[int, ...]], Tensor | None]
"""From path and whole shape of a saved tensor to the DTensor whose placement it gets, if any."""


@dataclass(frozen=True, slots=True)
class Report:
    """Result of `verify`."""

    path: Path
    manifest: Manifest | None
    problems: tuple[str, ...] = ()
    """One sentence per thing that is wrong, each beginning with the file's name."""
    ignored: tuple[str, ...] = ()
    """Names in the folder that the manifest doesn't list. They are never opened."""

    @property
    def ok(self) -> bool:
        """Whether every byte is the one that was written."""
        return self.manifest is not None and not self.problems

    @property
    def lacks_records_only(self) -> bool:
        """Whether all but the records of the run is what was written."""
        ours = f"{RECORDS_NAME} "
        return (
            self.manifest is not None
            and bool(self.problems)
            and all(problem.startswith(ours) for problem in self.problems)
        )

    def __str__(self) -> str:
        if self.ok:
            return f"{self.path}: verified"
        return f"{self.path}: " + "; ".join(self.problems)


def verify(path: str | os.PathLike[str], *, ranks: Ranks = SINGLE_RANK) -> Report:
    """Compare size and digest of every file with the manifest.

    Args:
        path: Folder of the checkpoint.
        ranks: Share the reading; all of them have to call, and get the same report.
    """
    folder = local_path(path)
    manifest: Manifest | None = None
    problems: list[str] = []
    try:
        manifest, _ = read_manifest(folder)
    except DamagedCheckpointError as error:
        problems += error.problems
    else:
        mine = manifest.files[ranks.rank :: ranks.size]
        problems += [problem for entry in mine if (problem := _compare(folder, entry))]
    if ranks.size > 1:
        found = [problem for each in ranks.gather(problems) for problem in each]
        problems = list(dict.fromkeys(found))
    return Report(folder, manifest, tuple(problems), _ignored(folder, manifest))


def _compare(folder: Path, entry: FileEntry) -> str | None:
    path = folder / entry.name
    try:
        # Size first: what is cut needs no reading.
        size_bytes = path.lstat().st_size
        longer = entry.grows and size_bytes > entry.size_bytes
        if size_bytes != entry.size_bytes and not longer:
            return f"{entry.name} has {size_bytes} bytes instead of {entry.size_bytes}"
        if digest_of(path, limit_bytes=entry.size_bytes).digest != entry.digest:
            return f"{entry.name} has changed since it was written: its digest doesn't match"
    except FileNotFoundError:
        return f"{entry.name} is missing"
    except OSError as error:
        return f"{entry.name} can't be read ({explain(error)})"
    return None


def _ignored(folder: Path, manifest: Manifest | None) -> tuple[str, ...]:
    if manifest is None:
        return ()
    ours = {MANIFEST_NAME, *(file.name for file in manifest.files)}
    return tuple(sorted(set(os.listdir(folder)) - ours))


@final
class Checkpoint:
    """A checkpoint that was verified. Made by `open_checkpoint`.

    Args:
        path: Its folder.
        manifest: What it says about itself.
        lacks: What is wrong with the records of the run, where that is all: they come back empty.
    """

    def __init__(self, path: Path, manifest: Manifest, lacks: tuple[str, ...] = ()) -> None:
        self.path = path
        self.manifest = manifest
        self.lacks = lacks

    def state(
        self,
        *,
        like: Any = None,
        placed_as: PlacedAs | None = None,
        enums: Iterable[type[enum.Enum]] = (),
    ) -> Any:
        """The state that all ranks share, as given to `save`; tensors whole and in host memory.

        Args:
            like: A state of the same form. Where a DTensor stands in it, only this rank's part is
                read and comes back as a DTensor of that placement: for models that fit on no
                single device. The number of ranks may differ from that of the save.
            placed_as: Asked for what `like` doesn't have, with path and shape: the DTensor whose
                placement such a tensor gets, or None for a whole one.
            enums: Types whose members are restored as members, not as their values.

        Raises:
            DamagedCheckpointError: when the content isn't what a save makes.
            StateMismatchError: when a tensor has another shape than the DTensor in `like`.
        """
        return self._read(STATE_NAME, "", enums, _templates(like, placed_as))

    def rank_state(self, rank: int, *, enums: Iterable[type[enum.Enum]] = ()) -> Any:
        """The state of `rank` alone in the saving run; None where it saved nothing.

        Raises:
            DamagedCheckpointError: when the content isn't what a save makes.
            StateMismatchError: when the saving run had no such rank.
        """
        if not 0 <= rank < self.manifest.world_size:
            raise StateMismatchError(
                f"{self.path} has no state of rank {rank}",
                expected=f"a rank below {self.manifest.world_size}, the world size of the save",
            )
        name = rank_file_name(rank)
        if not any(file.name == name for file in self.manifest.files):
            return None
        return self._read(name, rank_key(rank, ""), enums)

    def skeleton(self, name: str = STATE_NAME) -> Json:
        """The JSON of a state, with the names of tensors in their places."""
        entry = next((file for file in self.manifest.files if file.name == name), None)
        if entry is None:
            raise DamagedCheckpointError(self.path, (f"{name} is not listed",))
        try:
            skeleton: Json = json.loads(
                read_regular(self.path / name, limit_bytes=entry.size_bytes)
            )
        except OSError as error:
            problem = f"{name} can't be read ({explain(error)})"
            raise DamagedCheckpointError(self.path, (problem,)) from error
        except (ValueError, RecursionError) as error:
            raise DamagedCheckpointError(self.path, (f"{name} is not JSON: {error}",)) from error
        return skeleton

    def rank_skeleton(self, rank: int) -> Json:
        """The JSON of what one rank knew alone; None where it saved nothing."""
        name = rank_file_name(rank)
        if not any(file.name == name for file in self.manifest.files):
            return None
        return self.skeleton(name)

    @property
    def tensor_files(self) -> list[str]:
        """Names of the files with tensors."""
        names = [file.name for file in self.manifest.files]
        return [name for name in names if name.endswith(".safetensors")]

    def _read(
        self,
        name: str,
        prefix: str,
        enums: Iterable[type[enum.Enum]],
        placed_as: PlacedAs | None = None,
    ) -> Any:
        from trackside.checkpoint.storage import read_tensors  # noqa: PLC0415 - start-up time

        skeleton = self.skeleton(name)
        try:
            leaves = list(tensor_leaves(skeleton))
            keys = sorted({prefix + leaf.key for leaf in leaves})
            # A stand-in has another shape than its DTensor: read whole.
            stood_in = {leaf.key for leaf in leaves if leaf.dtype is not None}

            def template(key: str, shape: tuple[int, ...]) -> Tensor | None:
                return None if placed_as is None or key in stood_in else placed_as(key, shape)

            tensors = read_tensors(self.path, self.tensor_files, keys, template)
            plain = {key.removeprefix(prefix): value for key, value in tensors.items()}
            lacks = bool(self.lacks)
            history = None if lacks or name != STATE_NAME else self._records()
            return join(skeleton, plain, enums=enums, history=history, lacks_records=lacks)
        except (ValueError, TypeError, IndexError, RecursionError, OSError) as error:
            raise DamagedCheckpointError(self.path, (f"{name}: {error}",)) from error

    def records(self) -> HistorySnapshot | None:
        """The records of the run up to this checkpoint; None where it has none.

        Raises:
            DamagedCheckpointError: They can't be read.
        """
        if self.lacks:
            raise DamagedCheckpointError(self.path, self.lacks)
        try:
            return self._records()
        except (ValueError, OSError) as error:
            raise DamagedCheckpointError(self.path, (f"{RECORDS_NAME}: {error}",)) from error

    def _records(self) -> HistorySnapshot | None:
        """The records beside the shared state; None where it has none."""
        entry = next((file for file in self.manifest.files if file.name == RECORDS_NAME), None)
        if entry is None:
            return None
        path, size_bytes = self.path / RECORDS_NAME, entry.size_bytes
        return decode(read_regular(path, limit_bytes=size_bytes, cut=entry.grows))


def open_checkpoint(path: str | os.PathLike[str], *, ranks: Ranks = SINGLE_RANK) -> Checkpoint:
    """Verify a checkpoint, and open it.

    Args:
        path: Its folder.
        ranks: Share the reading; all of them have to call.

    Where nothing but the records of the run is damaged, it opens without them: see `lacks`.

    Raises:
        CheckpointError: The folder holds checkpoints, and isn't one: a run's, say.
        DamagedCheckpointError: names the file and what is wrong with it.
    """
    report = verify(path, ranks=ranks)
    if report.manifest is None and (within := _newest_within(report.path)) is not None:
        raise CheckpointError(
            f"{report.path} holds checkpoints, and isn't one itself",
            expected="the folder of a checkpoint",
            remedy=f"{str(within)!r}, the newest in it",
        )
    return opened(report)


def _newest_within(folder: Path) -> Path | None:
    """The checkpoint of the greatest step in the folder of a run, or of its checkpoints."""
    manifests = [*folder.glob(f"step-*/{MANIFEST_NAME}"), *folder.glob(f"*/step-*/{MANIFEST_NAME}")]
    places = {one.parent: parse_folder_name(one.parent.name) for one in manifests}
    found = [(place, one) for one, place in places.items() if place is not None]
    return max(found)[1] if found else None


def opened(report: Report) -> Checkpoint:
    """The checkpoint of a report.

    Raises `DamagedCheckpointError` unless it is `ok`, or lacks nothing but its records.
    """
    if report.manifest is None or not (report.ok or report.lacks_records_only):
        raise DamagedCheckpointError(report.path, report.problems)
    return Checkpoint(report.path, report.manifest, report.problems)


def load(path: str | os.PathLike[str], *, like: Any = None) -> Any:
    """The shared state of a checkpoint, verified. See `Checkpoint.state`."""
    return open_checkpoint(path).state(like=like)


def _templates(like: Any, otherwise: PlacedAs | None) -> PlacedAs | None:
    """The DTensors of a state by path, and `otherwise` for paths that it doesn't have."""
    if like is None:
        return otherwise
    known = split(like).tensors

    def placed_as(key: str, shape: tuple[int, ...]) -> Tensor | None:
        if key in known:
            return known[key] if is_sharded(known[key]) else None
        return None if otherwise is None else otherwise(key, shape)

    return placed_as
