"""Checkpoints: written whole or not at all, verified before they are believed, never unpickled.

This package knows neither loop nor trainer. It turns a *state* (nested dicts, lists, tuples and
sets of tensors, arrays and JSON-like values; the table is in `splitting`) into a folder and back.

    writer = CheckpointWriter(root, run_id, retention=Retention(keep_last=3))
    writer.prepare(state)                        # before the first step: savable, and how large
    ...
    writer.save(state, Saving(step=1200, progress=..., metrics=...), rank_state=own)
    for saved in writer.poll(): ...              # at a safe point: what has become whole
    ...
    seconds_waited = writer.close()

    selection = newest_valid(root)               # None: no checkpoint. An error: none is valid
    state = selection.checkpoint.state(like=state_with_dtensors)
    own = selection.checkpoint.rank_state(rank)
    run_id = selection.checkpoint.manifest.run_id

A checkpoint is a folder::

    step-0000001200/                             ...-2 where that name was taken
      manifest.json                              format, progress, world size, files with digests
      state.json                                 the shared state, without tensors
      rank-00000.json                            what each rank alone knows (RNG, data position)
      shard-00001-model-00001-of-00001.safetensors    what each rank wrote of the tensors
    ledger.<run id>.json                         which checkpoints in this folder the run wrote
    .tmp-<run id>....                            not whole yet, or deleted

What holds:

* Whole or not at all. Everything is written under a temporary name in the same folder, flushed,
  and renamed; the manifest has size and xxh3_128 of every file, and of itself. Nothing is
  overwritten, ever: a step that is saved a second time gets another name.
* What a file says is not believed: names can't lead out of the folder, links and pipes are not
  followed, no tensor is allocated that the file doesn't hold, no type is looked up by its name.
  Files that the manifest doesn't list are not opened.
* A checkpoint doesn't depend on who wrote its tensors: the writer's thread, or, for large ones, a
  process that is started once (`delegation`). The thread does all else, and the tensors, too, when
  that process dies.
* Newest is what was saved last (`Manifest.sequence`), whatever its step.
* Retention deletes what the run's own ledger lists, when the folder still is what the run wrote,
  after a newer one is there; not the one the run went on from, before a newer one verifies; and
  no file that another program put into the folder.

With several ranks: every rank makes a writer with its `Ranks` and calls the same methods in the
same order. Whole tensors and values are those of rank 0 (under DDP all ranks hold the same, but for
buffers between two broadcasts); of a DTensor each rank writes its part, and a checkpoint of N ranks
loads on M. What differs by rank belongs into `rank_state`. `Ranks.gather` is called in the
writer's thread: give it its own group of CPU processes. An error on one rank is raised on all,
at the next `poll`, `save` or `close` of each: not at the same step, unless the loop agrees on it.

For the loop: `save` reads the state while it is called and never after; the loop may go on to
change it in place. Records are only appended to, and a save writes those that are new. A failed
save changes nothing on the disk, and the writer can go on: what to do (`on_save_error`) is up to
the caller. Long lists of numbers are quicker as numpy arrays than as Python lists:
the walk through the state is part of what the loop waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.checkpoint.commit import Saved as Saved
    from trackside.checkpoint.commit import Saving as Saving
    from trackside.checkpoint.errors import CheckpointWriteError as CheckpointWriteError
    from trackside.checkpoint.errors import DamagedCheckpointError as DamagedCheckpointError
    from trackside.checkpoint.errors import NoValidCheckpointError as NoValidCheckpointError
    from trackside.checkpoint.errors import StateMismatchError as StateMismatchError
    from trackside.checkpoint.errors import UnsavableStateError as UnsavableStateError
    from trackside.checkpoint.inspection import Inspection as Inspection
    from trackside.checkpoint.inspection import inspect as inspect
    from trackside.checkpoint.lookup import at_path as at_path
    from trackside.checkpoint.lookup import find as find
    from trackside.checkpoint.lookup import is_path as is_path
    from trackside.checkpoint.manifest import Manifest as Manifest
    from trackside.checkpoint.matching import ModelMatch as ModelMatch
    from trackside.checkpoint.matching import load_model as load_model
    from trackside.checkpoint.matching import match_model as match_model
    from trackside.checkpoint.ranks import SINGLE_RANK as SINGLE_RANK
    from trackside.checkpoint.ranks import Ranks as Ranks
    from trackside.checkpoint.reader import Checkpoint as Checkpoint
    from trackside.checkpoint.reader import Report as Report
    from trackside.checkpoint.reader import load as load
    from trackside.checkpoint.reader import open_checkpoint as open_checkpoint
    from trackside.checkpoint.reader import verify as verify
    from trackside.checkpoint.retention import Retention as Retention
    from trackside.checkpoint.selection import Candidate as Candidate
    from trackside.checkpoint.selection import PassedOver as PassedOver
    from trackside.checkpoint.selection import Selection as Selection
    from trackside.checkpoint.selection import best_valid as best_valid
    from trackside.checkpoint.selection import candidates as candidates
    from trackside.checkpoint.selection import newest_valid as newest_valid
    from trackside.checkpoint.selection import valid_at_step as valid_at_step
    from trackside.checkpoint.splitting import check_savable as check_savable
    from trackside.checkpoint.writer import CheckpointWriter as CheckpointWriter
    from trackside.checkpoint.writer import SizeEstimate as SizeEstimate
    from trackside.checkpoint.writer import new_run_id as new_run_id

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "commit": (
                "Saved",
                "Saving",
            ),
            "errors": (
                "CheckpointWriteError",
                "DamagedCheckpointError",
                "NoValidCheckpointError",
                "StateMismatchError",
                "UnsavableStateError",
            ),
            "inspection": (
                "Inspection",
                "inspect",
            ),
            "lookup": (
                "at_path",
                "find",
                "is_path",
            ),
            "manifest": ("Manifest",),
            "matching": (
                "ModelMatch",
                "load_model",
                "match_model",
            ),
            "ranks": (
                "Ranks",
                "SINGLE_RANK",
            ),
            "reader": (
                "Checkpoint",
                "Report",
                "load",
                "open_checkpoint",
                "verify",
            ),
            "retention": ("Retention",),
            "selection": (
                "Candidate",
                "PassedOver",
                "Selection",
                "best_valid",
                "candidates",
                "newest_valid",
                "valid_at_step",
            ),
            "splitting": ("check_savable",),
            "writer": (
                "CheckpointWriter",
                "SizeEstimate",
                "new_run_id",
            ),
        },
    )

__all__ = [
    "SINGLE_RANK",
    "Candidate",
    "Checkpoint",
    "CheckpointWriteError",
    "CheckpointWriter",
    "DamagedCheckpointError",
    "Inspection",
    "Manifest",
    "ModelMatch",
    "NoValidCheckpointError",
    "PassedOver",
    "Ranks",
    "Report",
    "Retention",
    "Saved",
    "Saving",
    "Selection",
    "SizeEstimate",
    "StateMismatchError",
    "UnsavableStateError",
    "at_path",
    "best_valid",
    "candidates",
    "check_savable",
    "find",
    "inspect",
    "is_path",
    "load",
    "load_model",
    "match_model",
    "new_run_id",
    "newest_valid",
    "open_checkpoint",
    "valid_at_step",
    "verify",
]
