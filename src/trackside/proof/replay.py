"""`trackside.replay`: one step of a run that is over, made again under observation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import file_path, folder_path
from trackside.proof.made_again import MadeAgain, Way, made_again, way_to
from trackside.proof.observation import Observation, Observer, named_tensors
from trackside.proof.recorded import (
    Verdict,
    compare,
    decided_by_training,
    first_record_from,
    recorded,
)
from trackside.proof.retrace import retrace
from trackside.trainer.program import Program


@dataclass(frozen=True, slots=True)
class Replay:
    """One step of a run, made again."""

    way: Way
    observation: Observation
    verdict: Verdict
    left_out: tuple[str, ...]
    """Names of callbacks that took no part."""
    error: Exception | None = None
    """The error that the step ended with."""
    batches: tuple[Any, ...] = ()
    """Copies of its batches on the host."""

    @property
    def bitwise(self) -> bool | None:
        """Whether it is the step that was recorded, to the last bit; None where no record says."""
        return self.verdict.bitwise

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        from_checkpoint = None if self.way.checkpoint is None else str(self.way.checkpoint)
        return {
            "step": self.way.step,
            "from_checkpoint": from_checkpoint,
            "steps_trained": self.way.steps,
            **self.verdict.as_dict(),
            "verdict": str(self.verdict),
            "error": None if self.error is None else f"{type(self.error).__name__}: {self.error}",
            "observation": self.observation.as_dict(),
            "callbacks_left_out": list(self.left_out),
        }

    def save_batches(self, file: str | os.PathLike[str]) -> Path:
        """Write the tensors of the batches to a safetensors file, by their place in the batch."""
        several = len(self.batches) > 1
        found = {
            name: tensor.contiguous()
            for number, batch in enumerate(self.batches)
            for name, tensor in named_tensors(batch, str(number) if several else "")
        }
        if not found:
            raise UsageError("the batches of this step hold no tensors")
        path = file_path(file, "file")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(found, path)
        return path


def replay(
    run: str | os.PathLike[str],
    step: int,
    *,
    callbacks: Sequence[Callback[Any]] = (),
    without: Iterable[str] = (),
    overrides: Iterable[str] = (),
    program: Program | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Replay:
    """Train a run again up to one step, from the checkpoint before it, and observe that step.

    Nothing is written into the run's folder: callbacks that log, save, track or draw take no part,
    and the others see another folder in its place. Where no checkpoint is left before the step,
    training begins at the start of the run. It goes on from the step to the next record of the run,
    to compare the losses.

    Args:
        run: The run's folder.
        step: The step, from 1.
        callbacks: Callbacks that hear this step alone.
        without: Names of further callbacks that take no part.
        overrides: `key=value`, for what the run was given later: `trainer.epochs=40`.
        program: The trainer and its data, for a run that can't be made again by its folder.
        directory: The folder in which callbacks write; None: one that is then removed.

    Raises:
        UsageError: The run can't be made again, or has no such step.

    Example:
        >>> found = trackside.replay("runs/digits", 1200)  # doctest: +SKIP
        >>> found.bitwise, found.observation.loss  # doctest: +SKIP
        (True, 0.0312)
    """
    made = made_again(run, overrides, program)
    way = way_to(made, step)
    place = None if directory is None else folder_path(directory, "directory")
    return replay_along(made, way, callbacks=callbacks, without=without, directory=place)


def replay_along(
    made: MadeAgain,
    way: Way,
    *,
    callbacks: Sequence[Callback[Any]] = (),
    without: Iterable[str] = (),
    directory: Path | None = None,
) -> Replay:
    """As `replay`, along a way that is known already."""
    records = recorded(made.folder)
    until = first_record_from(records, way.step)
    observer = Observer(made.trainer, keep_batches=True)
    done = retrace(
        made,
        way,
        joining=[*callbacks, observer],
        until=until,
        without=without,
        directory=directory,
    )
    names = decided_by_training(made.data, made.trainer.metrics)
    verdict = compare(done.records, records, names, way.step)
    return Replay(way, observer.seen, verdict, done.left_out, done.error, tuple(observer.batches))
