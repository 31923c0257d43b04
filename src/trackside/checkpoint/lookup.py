"""Lookup: from `auto`, `best`, a step or a path to a verified checkpoint."""

from __future__ import annotations

from pathlib import Path

from trackside.checkpoint.ranks import SINGLE_RANK, Ranks
from trackside.checkpoint.reader import open_checkpoint
from trackside.checkpoint.retention import Retention
from trackside.checkpoint.selection import (
    Selection,
    best_valid,
    candidates,
    newest_valid,
    valid_at_step,
)
from trackside.errors import CheckpointError, UsageError
from trackside.machine.paths import local_path
from trackside.vocabulary.idioms import PICKLED, not_pickled

WORDS = ("auto", "best")


def is_path(which: str | int | Path) -> bool:
    """Whether `which` means the folder of a checkpoint, and not one of a run's checkpoints."""
    return isinstance(which, Path) or (
        isinstance(which, str) and which not in WORDS and not which.isdecimal()
    )


def at_path(which: str | int | Path, *, ranks: Ranks = SINGLE_RANK) -> Selection:
    """The checkpoint in the folder `which`. Raises `CheckpointError` where there is none."""
    path = local_path(str(which), "resume")
    if not path.is_dir():
        raise CheckpointError(
            f"{str(which)!r} names no checkpoint: there is no checkpoint at {path}",
            expected="'auto', 'best', a step, or the folder of a checkpoint",
            remedy=not_pickled(path) if path.suffix in PICKLED else None,
        )
    return Selection(open_checkpoint(path, ranks=ranks))


def find(
    which: str | int | Path,
    root: Path,
    retention: Retention | None,
    *,
    run_id: str | None = None,
    ranks: Ranks = SINGLE_RANK,
) -> Selection | None:
    """A verified checkpoint of a run; None where `auto` finds none.

    Args:
        which: `auto` for the newest that is whole, `best`, a step, or a path.
        root: The folder that holds the run's checkpoints.
        retention: Of the run's saver: it knows which metric says the best.
        run_id: Only those of this run; None takes any.
        ranks: Who looks together; None: this process alone.

    Raises:
        UsageError: Nothing says which checkpoint is the best.
        CheckpointError: There is none like that, or nothing that is there verifies.
    """
    if isinstance(which, Path) or is_path(which):
        return at_path(which, ranks=ranks)
    if which == "auto":
        return newest_valid(root, run_id=run_id, ranks=ranks)
    if which == "best":
        if retention is None or retention.monitor is None:
            raise UsageError(
                "nothing says which checkpoint is the best",
                expected="a saver that knows the metric",
                remedy="Checkpoint(keep_best=1, monitor='val/loss')",
            )
        found = best_valid(root, retention.monitor, retention.mode, run_id=run_id, ranks=ranks)
    else:
        found = valid_at_step(root, int(which), run_id=run_id, ranks=ranks)
    if found is None:
        steps = ", ".join(str(candidate.step) for candidate in candidates(root, run_id=run_id))
        raise CheckpointError(
            f"there is no checkpoint for {which!r} in {root}",
            received=f"steps {steps}" if steps else "no checkpoint at all",
            remedy="`trackside inspect` lists what a run's folder has",
        )
    return found
