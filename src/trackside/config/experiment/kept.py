"""Runs whose folder is there already: their configuration, checkpoints, and how they ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from trackside.checkpoint import Checkpoint, load_model, lookup
from trackside.checkpoint.saver import saver_among
from trackside.config.experiment.experiment import Experiment
from trackside.config.experiment.loading import load
from trackside.config.experiment.programs import KeptProgram, is_of_python, load_program
from trackside.config.experiment.trusted import search_path
from trackside.errors import CheckpointError, UnknownDataError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import local_path
from trackside.outcome import Status
from trackside.progress import is_count
from trackside.remote.address import Address
from trackside.remote.mirror import recorded_address
from trackside.run import Run
from trackside.run_folder.identity import identity
from trackside.run_folder.names import CONFIGURATION, ENVIRONMENT, OUTCOME, SETTINGS
from trackside.run_folder.small_files import look_into, read_json
from trackside.trainer.trainer import Trainer


def load_kept(
    folder: str | Path,
    overrides: Iterable[str] = (),
    *,
    address: Address | None = None,
    mirror: Path | None = None,
) -> Experiment | KeptProgram:
    """The experiment that a run's folder describes, to resume or evaluate there.

    Args:
        folder: The run's folder, with the `config.yaml` that `trackside train` left in it.
        overrides: `key=value` and `~key`, on top of it.
        address: Of its remote folder, where it goes on there as well.
        mirror: Its folder on this machine then; None takes the one of the address.

    Raises:
        UsageError: The folder holds no run.
        ExperimentError: Its configuration doesn't fit any more.
    """
    folder = local_path(folder, "run")
    if is_of_python(folder):
        return load_program(folder, overrides, address, mirror)
    if not (folder / CONFIGURATION).is_file():
        raise UsageError(
            f"there is no run in {folder}",
            expected=f"a folder with the {CONFIGURATION} or {SETTINGS} that a run leaves in it",
            remedy="`trackside runs` lists them",
        )
    known = search_path(folder, ENVIRONMENT, read_json(folder / ENVIRONMENT).get("search_path"))
    # YAML reads JSON: no character of a path is misread
    place = json.dumps(str(address or folder))
    changes = [*overrides, f"trainer.directory={place}"]
    if address is not None or recorded_address(folder) is not None:
        changes.append(f"trainer.mirror={json.dumps(None if mirror is None else str(mirror))}")
    return load(folder / CONFIGURATION, changes, search_path=known)


_OF_THE_CHECKPOINT = {
    "optimizer": "optimizers go on with the options that they were saved with",
    "seed": "random generators go on as they were saved",
}
"""Sections that a resumed run takes from its checkpoint, and why another value has no effect."""


def check_overrides(folder: str | Path, overrides: Iterable[str]) -> None:
    """Refuse overrides of `resume` that would have no effect. Raises `UsageError`."""
    if is_of_python(local_path(folder, "run")):
        return  # of a function, which may do anything with its arguments
    for override in overrides:
        key = override.partition("=")[0].lstrip("~+").strip()
        section = key.partition(".")[0]
        if section in _OF_THE_CHECKPOINT:
            asked = f"`trackside ask {folder} set {override}` while it runs, or "
            raise UsageError(
                f"{override!r} has no effect on a resumed run: {_OF_THE_CHECKPOINT[section]}",
                expected="overrides of other sections: `trainer.epochs=40`",
                remedy=(asked if "=" in override and section == "optimizer" else "")
                + "start another run from the weights, with the callback `LoadWeights`",
            )


def checkpoint_of(
    trainer: Trainer | None, folder: str | Path, which: str | int | Path
) -> Checkpoint:
    """A verified checkpoint of a run.

    Args:
        trainer: Its callback knows where and what is best; None: nothing knows.
        folder: The run's folder.
        which: `auto` for the newest that is whole, `best`, a step, or a path.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    if trainer is None and which == "best":
        raise UsageError(
            f"nothing says which checkpoint of {folder} is the best: with `into` the run isn't "
            "made again, and it knows the metric",
            expected="'auto', a step, or a path",
            remedy=f"give the step; `trackside inspect {folder}` lists all with their metrics",
        )
    saver = None if trainer is None else saver_among(trainer.callbacks)
    run = Run("evaluate", local_path(folder))
    root = run.directory / "checkpoints" if saver is None else saver.root(run)
    known = identity(run.directory)
    found = lookup.find(
        which,
        root,
        None if saver is None else saver.retention,
        run_id=None if known is None else known.run_id,
    )
    if found is None:
        raise CheckpointError(
            f"there is no checkpoint for {which!r} in {root}", received="no checkpoint at all"
        )
    return found.checkpoint


class _Weights(Callback[Run]):
    """Loads a checkpoint's weights once the models are there."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._models: Mapping[str, Any] = checkpoint.state()["models"]

    def on_setup_end(self, run: Run) -> None:
        for name, model in run.models.items():
            load_model(self._models.get(name, {}), model)


def evaluate_kept(
    experiment: Experiment | KeptProgram, names: Iterable[str], checkpoint: Checkpoint
) -> dict[str, float]:
    """Evaluate the weights of a checkpoint on named data sets; metrics by full name."""
    names = list(names) or list(experiment.evaluate) or list(experiment.validation())
    _check_names(names, experiment)
    data = experiment.make_data(names)
    trainer = experiment.trainer()
    trainer.callbacks.append(_Weights(checkpoint))
    found: dict[str, float] = {}
    for name in names:
        size = experiment.batch_size_for(data[name])
        found |= trainer.evaluate(data[name], name=name, batch_size=size)
    return found


def predict_kept(experiment: Experiment | KeptProgram, name: str, checkpoint: Checkpoint) -> Any:
    """Predict a named data set with the weights of a checkpoint."""
    _check_names([name], experiment)
    trainer = experiment.trainer()
    trainer.callbacks.append(_Weights(checkpoint))
    data = experiment.make_data([name])
    return trainer.predict(data[name], batch_size=experiment.batch_size_for(data[name]))


def _check_names(names: list[str], experiment: Experiment | KeptProgram) -> None:
    for name in names:
        if name not in experiment.data:
            raise UnknownDataError.among(experiment.data, name)
    if not names:
        raise UsageError(
            "there is nothing to evaluate", expected="the name of a data set, such as `test`"
        )


# --- how runs ended ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One run, as its folder describes it."""

    folder: Path | str
    """Of a remote run, its address."""
    status: str
    """An outcome's status; `unfinished` while it goes on, or when it was killed; `unknown` where
    the folder says what can't be read."""
    reason: str = ""
    step: int | None = None
    seconds: float | None = None
    started: str | None = None
    best: Mapping[str, float] = field(default_factory=dict)
    """Best values by full name."""
    problem: str = ""
    """Reason why its folder can't be read; empty where it can."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": str(self.folder)}


def runs_in(folder: str | Path) -> list[KeptRun]:
    """The runs in the folders below `folder`, oldest first."""
    root = local_path(folder, "folder")
    found = {one.parent for name in (CONFIGURATION, SETTINGS) for one in root.rglob(name)}
    kept = [_read(one) for one in found]
    return sorted(kept, key=lambda run: (run.started or "", str(run.folder)))


def _read(folder: Path) -> KeptRun:
    environment, unread = look_into(folder / ENVIRONMENT)
    content, problem = look_into(folder / OUTCOME)
    started = environment.get("started")
    problems = [one for one in (unread, problem) if one]
    status = content.get("status")
    if content and status not in list(Status):
        problems.append(f"{OUTCOME} names no status")
        problem = problem or problems[-1]
    step, seconds, reason, best = (
        content.get(key) for key in ("step", "seconds", "reason", "best")
    )
    return KeptRun(
        folder,
        "unknown" if problem else status or "unfinished",
        reason if isinstance(reason, str) else "",
        step if is_count(step) else None,
        float(seconds) if _is_number(seconds) else None,
        started if isinstance(started, str) else None,
        _values(best),
        "; ".join(problems),
    )


def _values(best: Any) -> dict[str, float]:
    """The best values among what a file says of them; what isn't a number is left out."""
    if not isinstance(best, Mapping):
        return {}
    content = {name: one.get("value") for name, one in best.items() if isinstance(one, Mapping)}
    return {name: float(value) for name, value in content.items() if _is_number(value)}


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number that a float can hold."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < sys.float_info.max
    )
