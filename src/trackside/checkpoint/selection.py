"""Choice of a checkpoint to resume from: the newest that is whole, the best, or one by step."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trackside.checkpoint.errors import DamagedCheckpointError, NoValidCheckpointError
from trackside.checkpoint.manifest import Manifest, parse_folder_name, read_manifest
from trackside.checkpoint.ranks import SINGLE_RANK, Ranks
from trackside.checkpoint.reader import Checkpoint, opened, verify
from trackside.history import best_key
from trackside.machine.paths import local_path


@dataclass(frozen=True, slots=True)
class Candidate:
    """A folder with the name of a checkpoint. Only its manifest was read."""

    path: Path
    step: int
    attempt: int
    """2 and above where the folder's name was taken when it was written."""
    manifest: Manifest | None
    problem: str | None = None
    """The problem with the manifest, when it is None."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A checkpoint that would have been taken, and why it wasn't."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Selection:
    """A verified checkpoint, and those that were passed over on the way to it."""

    checkpoint: Checkpoint
    passed_over: tuple[PassedOver, ...] = ()


def candidates(root: str | os.PathLike[str], *, run_id: str | None = None) -> list[Candidate]:
    """All folders in `root` that are named like a checkpoint, newest first.

    Newest is the one that was saved last, whatever its step: a run that was taken back to an
    earlier step goes on where it was last. A folder whose manifest can't be read stands where its
    step puts it.

    Args:
        root: Folder of the checkpoints; it need not exist.
        run_id: Leave out those of other runs.
    """
    folder = local_path(root, "root")
    found: list[Candidate] = []
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        place = parse_folder_name(name)
        if place is None:
            continue
        try:
            manifest, _ = read_manifest(folder / name)
        except DamagedCheckpointError as error:
            found.append(Candidate(folder / name, *place, None, error.problems[0]))
        else:
            if run_id is None or manifest.run_id == run_id:
                found.append(Candidate(folder / name, *place, manifest))
    return _newest_first(found)


def _newest_first(found: list[Candidate]) -> list[Candidate]:
    def saved(candidate: Candidate) -> tuple[int, int, int]:
        sequence = candidate.manifest.sequence if candidate.manifest else 0
        return sequence, candidate.step, candidate.attempt

    ordered = sorted((c for c in found if c.manifest), key=saved, reverse=True)
    for lost in sorted((c for c in found if not c.manifest), key=saved):
        place = (lost.step, lost.attempt)
        older = (i for i, c in enumerate(ordered) if (c.step, c.attempt) <= place)
        ordered.insert(next(older, len(ordered)), lost)
    return ordered


def newest_valid(
    root: str | os.PathLike[str], *, run_id: str | None = None, ranks: Ranks = SINGLE_RANK
) -> Selection | None:
    """The newest checkpoint that verifies, or None where there are no checkpoints at all.

    Args:
        root: Folder of the checkpoints.
        run_id: Leave out those of other runs.
        ranks: Share the reading; all of them have to call, and get the same answer.

    Raises:
        NoValidCheckpointError: when there are some, and none verifies: to start again in silence
            would throw the work away.
    """
    return _first_valid(root, _shared(candidates(root, run_id=run_id), ranks), ranks)


def best_valid(
    root: str | os.PathLike[str],
    monitor: str,
    mode: Literal["min", "max"] = "min",
    *,
    run_id: str | None = None,
    ranks: Ranks = SINGLE_RANK,
) -> Selection | None:
    """The checkpoint with the best finite value of `monitor` that verifies, or None.

    Args:
        root: Folder of the checkpoints.
        monitor: Full name of a metric that was given to the saves.
        mode: Whether lower or higher is better.
        run_id: Leave out those of other runs.
        ranks: Share the reading; all of them have to call, and get the same answer.

    Raises:
        NoValidCheckpointError: when there are some with that metric, and none verifies.
    """
    valued: list[tuple[float, int, Candidate]] = []
    for candidate in candidates(root, run_id=run_id):
        if candidate.manifest is not None:
            value = candidate.manifest.metrics.get(monitor, math.nan)
            if math.isfinite(value):
                valued.append((best_key(value, mode), candidate.manifest.sequence, candidate))
    ranked = [candidate for _, _, candidate in sorted(valued, key=lambda each: each[:2])]
    return _first_valid(root, _shared(ranked, ranks), ranks)


def valid_at_step(
    root: str | os.PathLike[str],
    step: int,
    *,
    run_id: str | None = None,
    ranks: Ranks = SINGLE_RANK,
) -> Selection | None:
    """The newest checkpoint of exactly that step that verifies, or None without one.

    Raises:
        NoValidCheckpointError: when there are some, and none verifies.
    """
    at_step = [each for each in candidates(root, run_id=run_id) if each.step == step]
    return _first_valid(root, _shared(at_step, ranks), ranks)


def _shared(found: list[Candidate], ranks: Ranks) -> list[Path]:
    """Rank 0's list: what another rank sees in the folder may be a moment older."""
    paths = [str(candidate.path) for candidate in found]
    if ranks.size > 1:
        paths = ranks.gather(paths)[0]
    return [Path(path) for path in paths]


def _first_valid(root: str | os.PathLike[str], paths: list[Path], ranks: Ranks) -> Selection | None:
    passed_over: list[PassedOver] = []
    without_records: Selection | None = None
    for path in paths:
        report = verify(path, ranks=ranks)
        if report.ok:
            return Selection(opened(report), tuple(passed_over))
        if report.lacks_records_only and without_records is None:
            without_records = Selection(opened(report), tuple(passed_over))
        passed_over.append(PassedOver(path, "; ".join(report.problems)))
    if without_records is not None:  # one file of records can be that of all checkpoints
        return without_records
    if not passed_over:
        return None
    raise NoValidCheckpointError(
        f"none of the {len(passed_over)} checkpoints in {root} can be trusted: "
        + "; ".join(map(str, passed_over)),
        remedy="restore one from a copy, or start again in another folder; nothing was changed",
    )
