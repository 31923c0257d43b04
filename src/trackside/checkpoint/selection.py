"""Choice of a checkpoint to resume from: the newest that is whole, the best, or one by step."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trackside.checkpoint.errors import DamagedCheckpointError, NoValidCheckpointError
from trackside.checkpoint.ledger import returns_of
from trackside.checkpoint.lineage import left_behind
from trackside.checkpoint.manifest import Manifest, parse_folder_name, read_manifest
from trackside.checkpoint.ranks import SINGLE_RANK, Ranks
from trackside.checkpoint.reader import Checkpoint, open_checkpoint, opened, verify
from trackside.history import best_key
from trackside.machine.paths import local_path

LEFT_BEHIND = "the run was taken back to an earlier checkpoint after it"


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
    left_behind: bool = False
    """Whether the run was taken back to an earlier checkpoint, and did not come through this."""


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
    return _newest_first(_with_lineage(folder, found))


def _with_lineage(folder: Path, found: list[Candidate]) -> list[Candidate]:
    numbers: dict[str, list[int]] = {}
    for one in found:
        if one.manifest is not None:
            numbers.setdefault(one.manifest.run_id, []).append(one.manifest.sequence)
    left = {run: left_behind(saves, returns_of(folder, run)) for run, saves in numbers.items()}
    return [
        replace(one, left_behind=True)
        if one.manifest is not None and one.manifest.sequence in left[one.manifest.run_id]
        else one
        for one in found
    ]


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
    root: str | os.PathLike[str],
    *,
    run_id: str | None = None,
    ranks: Ranks = SINGLE_RANK,
    otherwise: Path | None = None,
) -> Selection | None:
    """The newest checkpoint that verifies, or None where there are no checkpoints at all.

    Those that the run has left behind, when it was taken back to an earlier one, don't count.

    Args:
        root: Folder of the checkpoints.
        run_id: Leave out those of other runs.
        ranks: Share the reading; all of them have to call, and get the same answer.
        otherwise: The checkpoint to take where none counts, such as one of another folder that
            the run began from.

    Raises:
        NoValidCheckpointError: when there are some, and none verifies: to start again in silence
            would throw the work away.
    """
    found = _shared(candidates(root, run_id=run_id), ranks)
    if otherwise is not None and all(one.left_behind for one in found):
        return Selection(open_checkpoint(otherwise, ranks=ranks))
    return _first_valid(root, found, ranks)


def best_valid(
    root: str | os.PathLike[str],
    monitor: str,
    mode: Literal["min", "max"] = "min",
    *,
    run_id: str | None = None,
    ranks: Ranks = SINGLE_RANK,
) -> Selection | None:
    """The checkpoint with the best finite value of `monitor` that verifies, or None.

    Those that the run has left behind, when it was taken back to an earlier one, don't count.

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

    One that the run has left behind is taken where it has no other of that step.

    Raises:
        NoValidCheckpointError: when there are some, and none verifies.
    """
    at_step = [each for each in candidates(root, run_id=run_id) if each.step == step]
    at_step.sort(key=lambda each: each.left_behind)  # stable: the newest first
    asked_for = [replace(each, left_behind=False) for each in at_step]
    return _first_valid(root, _shared(asked_for, ranks), ranks)


@dataclass(frozen=True, slots=True)
class _Considered:
    """A candidate, as ranks share it."""

    path: Path
    left_behind: bool


def _shared(found: list[Candidate], ranks: Ranks) -> list[_Considered]:
    """Rank 0's list: what another rank sees in the folder may be a moment older."""
    told: list[tuple[str, bool]] = [(str(one.path), one.left_behind) for one in found]
    if ranks.size > 1:
        told = ranks.gather(told)[0]
    return [_Considered(Path(path), left) for path, left in told]


def _first_valid(
    root: str | os.PathLike[str], found: list[_Considered], ranks: Ranks
) -> Selection | None:
    passed_over: list[PassedOver] = []
    without_records: Selection | None = None
    for one in found:
        if one.left_behind:
            passed_over.append(PassedOver(one.path, LEFT_BEHIND))
            continue
        report = verify(one.path, ranks=ranks)
        if report.ok:
            return Selection(opened(report), tuple(passed_over))
        if report.lacks_records_only and without_records is None:
            without_records = Selection(opened(report), tuple(passed_over))
        passed_over.append(PassedOver(one.path, "; ".join(report.problems)))
    if without_records is not None:  # one file of records can be that of all checkpoints
        return without_records
    if not passed_over:
        return None
    raise _none_counts(root, found, passed_over)


def _none_counts(
    root: str | os.PathLike[str], found: list[_Considered], passed_over: list[PassedOver]
) -> NoValidCheckpointError:
    why = "; ".join(map(str, passed_over))
    if all(one.left_behind for one in found):
        return NoValidCheckpointError(
            f"the run has left the checkpoints in {root} behind, and saved none since: {why}",
            remedy="name the one to go on from: resume=PATH, or the number of its step",
        )
    return NoValidCheckpointError(
        f"none of the {len(passed_over)} checkpoints in {root} can be trusted: {why}",
        remedy="restore one from a copy, or start again in another folder; nothing was changed",
    )
