"""A run made again from its folder: the trainer and the arguments of its `fit`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page.reading import read_run
from trackside.checkpoint import candidates, open_checkpoint
from trackside.checkpoint.saver import saver_among
from trackside.config.experiment.kept import load_kept
from trackside.config.experiment.programs import KeptProgram
from trackside.errors import CheckpointError, UsageError
from trackside.machine.paths import local_path
from trackside.progress import EndedEpoch, TrainingBatch, is_count, training_batches
from trackside.run import Run
from trackside.run_folder.identity import identity
from trackside.trainer.program import Program
from trackside.trainer.trainer import Trainer


@dataclass(frozen=True, slots=True)
class MadeAgain:
    """A trainer like the one that made a run, and the data that it was given."""

    folder: Path
    """The folder of the run; nothing is written there."""
    trainer: Trainer
    arguments: dict[str, Any]
    """Of `Trainer.fit`."""

    @property
    def data(self) -> dict[str, Any]:
        """All data of the run by name; a single one for validation is called `val`."""
        given = self.arguments
        validation = given.get("validation")
        evaluated = validation if isinstance(validation, Mapping) else {"val": validation}
        named = {"train": given["train"], **evaluated, **(given.get("data") or {})}
        return {name: data for name, data in named.items() if data is not None}


@dataclass(frozen=True, slots=True)
class Way:
    """The steps from a checkpoint, or from the start, to a step of interest."""

    step: int
    """The step of interest, from 1."""
    checkpoint: Path | None
    """Where it begins; None: at the start of the run."""
    begins_after: int
    """Steps that are completed there."""
    leave_out: tuple[TrainingBatch, ...] = ()
    """Batches that the run left out when it went back to a checkpoint later on."""
    ended_epochs: tuple[EndedEpoch, ...] = ()
    """Epochs that the run ended on request."""

    @property
    def steps(self) -> int:
        """Steps to train, the one of interest included."""
        return self.step - self.begins_after


def made_again(
    folder: str | os.PathLike[str], overrides: Iterable[str] = (), program: Program | None = None
) -> MadeAgain:
    """Make the trainer and the data of a run again.

    Args:
        folder: The run's folder.
        overrides: `key=value`, for what the run was given later: `trainer.epochs=40`.
        program: The trainer and its data, for a run that can't be made again by its folder.

    Raises:
        UsageError: The folder holds no run, or one that can't be made again.
    """
    place = local_path(os.fspath(folder), "run")
    if program is not None:
        return MadeAgain(place, program.trainer, _arguments(program))
    kept = load_kept(place, overrides)
    if isinstance(kept, KeptProgram):
        return MadeAgain(place, kept.program.trainer, _arguments(kept.program))
    trainer = kept.trainer()  # before the data, as in the run: both may draw random numbers
    return MadeAgain(place, trainer, kept.fit_arguments(kept.make_data()))


def _arguments(program: Program) -> dict[str, Any]:
    given = {"train": program.train, "validation": program.validation, "data": dict(program.data)}
    return {**program.options, **given}


def way_to(made: MadeAgain, step: int) -> Way:
    """The shortest way to a step: from the last checkpoint before it that is whole.

    Raises:
        UsageError: The step isn't one; or no checkpoint is left before it, and the run can't be
            begun again.
        CheckpointError: The run trained on several ranks.
    """
    if step < 1:
        raise UsageError(f"there is no step {step}", expected="a number from 1 on")
    timeline = checkpoints_of(made)
    left_out = left_out_of(made, timeline)
    for path in timeline:
        checkpoint = open_checkpoint(path)
        if checkpoint.manifest.step < step:
            if checkpoint.manifest.world_size > 1:
                raise CheckpointError(
                    f"{path} was saved by {checkpoint.manifest.world_size} ranks",
                    expected="a run of one process: batches of several can't be made by one",
                )
            return Way(step, path, checkpoint.manifest.step, left_out, ended_epochs_of(made))
    _check_start(made)
    return Way(step, None, 0, left_out, ended_epochs_of(made))


def checkpoints_of(made: MadeAgain) -> list[Path]:
    """Whole checkpoints that the run has come through, newest first."""
    saver = saver_among(made.trainer.callbacks)
    run = Run("evaluate", made.folder)
    root = made.folder / "checkpoints" if saver is None else saver.root(run)
    known = identity(made.folder)
    found: list[Path] = []
    lowest: float = float("inf")
    for one in candidates(root, run_id=None if known is None else known.run_id):
        if one.manifest is None or one.left_behind or one.step > lowest:  # or taken back
            continue
        if _is_whole(one.path):
            lowest = one.step
            found.append(one.path)
    first = next(iter(read_run(made.folder).sessions), None)
    origin = Path((first and first.resumed_from) or "")
    if origin.is_absolute() and origin not in found and _is_whole(origin):  # a name: in the folder
        found.append(origin)
    return found


def left_out_of(made: MadeAgain, timeline: list[Path]) -> tuple[TrainingBatch, ...]:
    """Batches that the run has left out, as its newest checkpoint lists them."""
    if not timeline or not read_run(made.folder).rollbacks:
        return ()
    rollbacks = open_checkpoint(timeline[0]).state()["loop"].get("rollbacks", ())
    return tuple(batch for one in rollbacks for batch in training_batches(one["left_out"]))


def ended_epochs_of(made: MadeAgain) -> tuple[EndedEpoch, ...]:
    """Epochs that the run ended on request, as its folder lists them."""
    return tuple(
        EndedEpoch(one["epoch"], one["step"], str(one.get("reason")), str(one.get("asked_by")))
        for one in read_run(made.folder).ended_epochs
        if is_count(one.get("epoch")) and is_count(one.get("step"))
    )


def _is_whole(path: Path) -> bool:
    try:
        open_checkpoint(path)
    except (CheckpointError, OSError):
        return False
    return True


def _check_start(made: MadeAgain) -> None:
    """Refuse a beginning that would be another one than the run's. Raises `UsageError`."""
    first = next(iter(read_run(made.folder).sessions), None)
    if first is not None and first.resumed_from is not None:
        raise UsageError(
            f"the run began from {first.resumed_from}, which is gone, and no checkpoint "
            "was left in its folder before that step"
        )
    if made.trainer.seed is None:
        raise UsageError(
            "no checkpoint is left before that step, and a run without a seed begins otherwise "
            "each time",
            remedy="keep more of them: Checkpoint(keep_every_steps=1000); or give the trainer a "
            "`seed`",
        )
