"""Crash capsules read back, and the step of one made again, to see whether the same error comes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from trackside.callbacks.watching.capsule_files import about_error
from trackside.checkpoint.joining import join
from trackside.errors import UsageError
from trackside.machine.paths import local_path
from trackside.proof.made_again import MadeAgain, Way, made_again, way_to
from trackside.proof.observation import Observer, named_tensors
from trackside.proof.retrace import retrace
from trackside.run_folder.identity import identity
from trackside.run_folder.inside import open_inside
from trackside.run_folder.names import CAPSULE, CAPSULE_TENSORS
from trackside.run_folder.small_files import look_into
from trackside.trainer.program import Program


@dataclass(frozen=True, slots=True)
class Capsule:
    """A crash capsule, read without trusting it."""

    folder: Path
    run: Path
    """The folder of its run."""
    content: dict[str, Any]
    """Of `capsule.json`."""

    @property
    def step(self) -> int:
        """The step under way, or the last one that was completed."""
        return int(self.content["step"])

    @property
    def error(self) -> dict[str, Any] | None:
        """Type, message and notes; None for an alarm, and for a loss that ended the run."""
        found: dict[str, Any] | None = self.content.get("error")
        return found

    def batch(self) -> Any:
        """The batch that was under way; None where it was left out."""
        if "batch" not in self.content:
            return None
        with open_inside(self.folder, CAPSULE_TENSORS) as stream:
            data = stream.read()
        tensors = {
            key.removeprefix("batch/"): tensor
            for key, tensor in safetensors.torch.load(data).items()
            if key.startswith("batch/")
        }
        return join(self.content["batch"], tensors)


def is_capsule(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a crash capsule."""
    return (Path(folder) / CAPSULE).is_file()


def read_capsule(folder: str | os.PathLike[str]) -> Capsule:
    """Read a crash capsule.

    Raises:
        UsageError: The folder holds none, or one that can't be read, or one outside of its run.
    """
    place = local_path(os.fspath(folder), "capsule").absolute()
    content, why = look_into(place / CAPSULE)
    if content.get("format") != 1 or not isinstance(content.get("step"), int):
        raise UsageError(
            f"{place} holds no crash capsule",
            expected=f"a folder with `{CAPSULE}`, format 1",
            received=why or None,
        )
    run = _run_of(place, content)
    if run is None:
        raise UsageError(
            f"{place} lies in no run's folder", remedy="leave a capsule where its run has put it"
        )
    return Capsule(place, run, content)


def _run_of(place: Path, content: dict[str, Any]) -> Path | None:
    """The folder above that is a run's, or was: a run that made no step takes its sign away."""
    named = content.get("run")
    was = Path(str(named.get("directory"))) if isinstance(named, dict) else None
    return next((one for one in place.parents if identity(one) is not None or one == was), None)


@dataclass(frozen=True, slots=True)
class CapsuleReplay:
    """The step of a capsule, made again."""

    capsule: Capsule
    way: Way
    error: Exception | None
    """The error that came this time."""
    same_batch: bool | None
    """Whether the batch is bitwise that of the capsule; None where one of them isn't known."""
    non_finite: tuple[str, ...] = ()
    """Tensors of the step that aren't finite."""

    @property
    def same(self) -> bool | None:
        """Whether the step ended as it did: with the same error, or numbers that went wrong.

        None after an alarm, which has no end to compare, where the step now comes to one.
        """
        recorded = self.capsule.error
        if recorded is None and self.capsule.content["reason"] == "non-finite":
            return bool(self.non_finite)
        if recorded is None:
            return None if self.error is None else False
        if self.error is None:
            return False
        found = about_error(self.error)
        return all(found[part] == recorded[part] for part in ("type", "message"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "step": self.capsule.step,
            "reason": self.capsule.content["reason"],
            "recorded": self.capsule.error,
            "error": None if self.error is None else about_error(self.error),
            "same": self.same,
            "same_batch": self.same_batch,
            "non_finite": list(self.non_finite),
            "steps_trained": self.way.steps,
        }


def capsule_way(
    capsule: Capsule, overrides: Iterable[str] = (), program: Program | None = None
) -> tuple[MadeAgain, Way]:
    """The run of a capsule made again, and the way to its step.

    A crash before the first step is looked for from the start of the run to the end of that step.

    Raises:
        UsageError: The run can't be made again.
        CheckpointError: It trained on several ranks.
    """
    made = made_again(capsule.run, overrides, program)
    return made, way_to(made, max(capsule.step, 1))


def replay_capsule(capsule: Capsule, made: MadeAgain, way: Way) -> CapsuleReplay:
    """Train to the step of a capsule, take it, and compare how it ends.

    A crash that came after its step (in an evaluation, a callback, the next batch) is waited for
    until the record of the step that follows.
    """
    observer = Observer(made.trainer, keep_batches=True)
    within = capsule.content["within_the_step"] or capsule.step < 1
    until = None if within else capsule.step + 1
    error: Exception | None
    try:
        error = retrace(made, way, joining=[observer], until=until).error
    except Exception as caught:  # it is compared with the one of the capsule
        error = caught
    non_finite = [*observer.seen.non_finite]
    if observer.seen.loss is not None and observer.seen.loss * 0 != 0:
        non_finite.append("loss")
    same_batch = _same_batch(capsule, observer.batches)
    return CapsuleReplay(capsule, way, error, same_batch, tuple(non_finite))


def _same_batch(capsule: Capsule, batches: list[Any]) -> bool | None:
    kept = capsule.batch()
    if kept is None or not batches or not capsule.content["within_the_step"]:
        return None
    expected, found = dict(named_tensors(kept)), dict(named_tensors(batches[-1]))
    return expected.keys() == found.keys() and all(
        expected[name].dtype == found[name].dtype
        and expected[name].shape == found[name].shape
        and expected[name].numpy().tobytes() == found[name].cpu().numpy().tobytes()
        for name in expected
    )
