"""Resume: find the verified checkpoint that `resume=...` names, and restore the run from it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackside import checkpoint as checkpoints
from trackside.checkpoint.errors import StateMismatchError
from trackside.distributed import World
from trackside.distributed.state import placement
from trackside.errors import CheckpointError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop import elastic
from trackside.loop.comparison import compare, conditions, same_options
from trackside.loop.snapshot import restore
from trackside.loop.state import Training
from trackside.machine import randomness
from trackside.run import Run
from trackside.run_folder.identity import identity
from trackside.step.metrics import merged

if TYPE_CHECKING:
    from trackside.checkpoint import Checkpoint, Selection

logger = logging.getLogger("trackside")

Resume = str | int | Path | None
"""`auto`, `best`, a step, or the path of a checkpoint; None starts fresh."""


def resume(training: Training, which: Resume, *, is_new_directory: bool) -> None:
    """Put a run back to a checkpoint, if one is asked for and there is one; see `find`."""
    training.position.built = conditions(training)
    found = find(training.run, which, is_new_directory=is_new_directory)
    if found is not None:
        run = training.run
        run.taken_back = which != "auto" and run.world.on_rank_zero(lambda: _is_earlier(run, found))
        _restore(training, found, follow=True)


def _is_earlier(run: Run, found: Selection) -> bool:
    """Whether the run has gone further, in the folder that it goes on in, than a checkpoint."""
    if run.saver is None:
        return False
    checkpoint = found.checkpoint
    saved = checkpoints.candidates(run.saver.root(run), run_id=checkpoint.manifest.run_id)
    whole = (one for one in saved if one.manifest is not None and not one.left_behind)
    newest = next(whole, None)
    return newest is not None and newest.path.resolve() != checkpoint.path.resolve()


def _restore(training: Training, found: Selection, *, follow: bool = False) -> None:
    shared, own = read(training.run, found)
    taken = None
    if found.checkpoint.manifest.world_size != training.run.world.size:
        taken = elastic.take_place(training, found.checkpoint, shared, own)
    training.fire(Callback.on_checkpoint_load, shared)
    restore(training, shared, own)
    differs = compare(training, shared["loop"].get("built"), shared["config"])
    elastic.keep_place(training, taken)
    following = training.setup.following
    if following is not None and not follow:
        following.forget(training)
    elif following is not None:
        losses = not differs and same_options(training.run.config, shared["config"])
        following.expect(training, shared, found.checkpoint.path.parent, losses=losses)


def restore_newest(training: Training, reason: str) -> None:
    """Put a run that is under way back to its newest checkpoint that verifies, for `reason`.

    Where it has saved none yet, to the one that it was resumed from: later ones that it left behind
    then hold steps that it has not taken.

    Raises:
        CheckpointError: There is none.
    """
    run = training.run
    found, origin = None, run.resumed_from
    if run.saver is not None:
        root = run.saver.root(run)
        found = checkpoints.newest_valid(root, run_id=run.id, ranks=run.world, otherwise=origin)
    elif origin is not None:
        found = checkpoints.Selection(checkpoints.open_checkpoint(origin, ranks=run.world))
    if found is None:
        raise CheckpointError(
            f"there is no checkpoint to go back to from step {run.progress.steps_completed}: "
            + reason,
            remedy="save earlier, for example with `Checkpoint(every='100 steps')`"
            if run.saver is not None
            else "add the callback `Checkpoint()`",
        )
    _restore(training, found)
    run.resumed_from = origin


def find(run: Run, which: Resume, *, is_new_directory: bool) -> Selection | None:
    """The checkpoint that `which` means, verified; None to start fresh.

    Args:
        run: The run to resume.
        which: What was asked for.
        is_new_directory: The run's folder was just named: it holds no checkpoint.

    Raises:
        UsageError: The folder to search isn't known.
        CheckpointError: What was asked for isn't there, or nothing that is there verifies.
    """
    if which is None:
        return None
    if checkpoints.is_path(which):
        return checkpoints.at_path(which, ranks=run.world)
    if is_new_directory:
        raise UsageError(
            f"resume={which!r} has no folder to look in",
            expected="the folder of the run to resume",
            remedy="name it: Trainer(..., settings=Settings(directory='runs/mine'))",
        )
    if run.saver is None:
        raise UsageError(
            f"resume={which!r}, and no callback saves checkpoints",
            remedy="add the callback `Checkpoint()`, or give the path of a checkpoint",
        )
    root, run_id = run.saver.root(run), _run_of_the_folder(run)
    found = checkpoints.find(which, root, run.saver.retention, run_id=run_id, ranks=run.world)
    if found is None:
        _tell_of_others(root, run_id)
    return found


def _run_of_the_folder(run: Run) -> str | None:
    """Id of the run that was begun last in the folder; None where nothing says so."""
    known = identity(run.directory) if run.world.is_global_zero else None
    return run.world.broadcast(None if known is None else known.run_id)


def _tell_of_others(root: Path, run_id: str | None) -> None:
    others = checkpoints.candidates(root) if run_id is not None else []
    if others:
        logger.warning(
            "%s holds %d checkpoints of earlier runs, and none of the one that was begun last: "
            "it begins again; resume=PATH goes on with an earlier one",
            root,
            len(others),
        )


def read(run: Run, found: Selection) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states in a checkpoint, checked against the run's models; reports what was passed over.

    Returns:
        What all ranks share, of sharded tensors this rank's part; and what this rank knew, or, when
        the number of ranks has changed, what comes closest.

    Raises:
        StateMismatchError: A model has changed; with the whole report.
    """
    # Here, because who resumes nothing needs no validation.
    from trackside.loop.believable import check_own, check_shared  # noqa: PLC0415

    checkpoint = found.checkpoint
    for passed_over in found.passed_over:
        logger.warning("passed over %s", passed_over)
    shared = _shared(run, checkpoint)
    check_shared(shared)
    for lack in checkpoint.lacks:
        logger.warning("%s goes on without the records before it: %s", checkpoint.path, lack)
    for name, model in run.models.items():
        match = checkpoints.match_model(shared["models"].get(name, {}), model)
        if not match.exact:
            raise StateMismatchError(
                f"the model {name!r} is not the one in {checkpoint.path}: {match}",
                remedy="build the model as it was; to start fresh from its weights, use the "
                "callback `LoadWeights`",
            )
    run.id = checkpoint.manifest.run_id
    run.resumed_from = checkpoint.path
    logger.info("resumed from %s, step %d", checkpoint.path, checkpoint.manifest.step)
    own = _own(run.world, checkpoint)
    check_own(own)
    return shared, own


def _shared(run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    """The state that all ranks share; of sharded tensors, only this rank's part is read."""
    placed_as = placement(run.models, run.optimizers)
    known = (
        {"callbacks": run.callbacks.state_dict(), "trainer": run.steps.state_dict()}
        if placed_as is not None
        else None
    )
    shared: dict[str, Any] = checkpoint.state(like=known, placed_as=placed_as)
    return shared


def _own(world: World, checkpoint: Checkpoint) -> dict[str, Any]:
    """The state of this rank alone; on another number of ranks, its share of what all knew.

    Sums that aren't recorded yet are dealt out, so that each counts once; a rank that the saving
    run did not have draws its own numbers. For the place in the data, see `elastic`.
    """
    saved_by, rank, ranks = checkpoint.manifest.world_size, world.rank, world.size
    if saved_by == ranks:
        own: dict[str, Any] = checkpoint.rank_state(rank)
        return own
    own = checkpoint.rank_state(rank % saved_by)
    own.pop("buffers", None)  # all ranks begin with those of rank 0
    if rank >= saved_by:
        own["random"] = randomness.branched(own["random"], rank)
    parts = [checkpoint.rank_state(other)["log"] for other in range(rank, saved_by, ranks)]
    own["log"] = merged(parts)
    return own
