"""Diagnostics of a run before its first step: its schedules, and its likely failures.

Everything here is a function of schedules, limits and names: nothing is started, nothing written.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from torch import nn

from trackside.data.loaders import batch_size_of
from trackside.data.source import DataSource
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.lifecycle.roles import HasPatience, HasSchedulers, KeepsToTime
from trackside.progress import RunLimit
from trackside.run import Run
from trackside.schedule import AllOf, AnyOf, Every, Schedule, due_steps, firings, is_unknown
from trackside.step.optimization import Scheduling

Severity = Literal["error", "warning", "hint"]

_WITHOUT_CHECKPOINTS_STEPS = 10_000
"""Runs of so many steps should be saved now and then."""
_STEPS_SHOWN = 8
"""Steps of a schedule that a plan names."""
_SMALL_TENSOR = 2**14
"""Elements, on average, up to which `foreach` was quicker on the CPU."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something about a run that its author should know before it starts."""

    severity: Severity
    about: str
    """Name of the callback or setting."""
    message: str
    remedy: str
    received: str | None = None
    """The value it is about, as it was given."""
    place: str | None = None
    """Position in the file that configured it: `run.yaml:12:5`."""
    option: str | None = None
    """The option that is to be changed, of the callback or else of the trainer."""
    callback: str | None = None
    """Name of the callback whose option it is."""

    def __str__(self) -> str:
        return f"{self.about}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Planned:
    """One schedule of a run."""

    owner: str
    """Name of the callback, or `trainer`."""
    option: str
    schedule: Schedule
    times: int | None
    """Times it will be due; None when that depends on the clock or on the data."""
    first_step: int | None
    """The step at which it is due first; None when that isn't known."""
    min_seconds: float = 0.0
    """How old the last one must be at an epoch's end: then `times` is the most that it can be."""
    steps: tuple[int, ...] = ()
    """The first steps at which it is due, as far as they are known."""
    time_percent: float | None = None
    """Share of the time, in percent, that it has to fit into: the clock decides which are done."""


def planned(run: Run, settings: Mapping[str, Schedule]) -> list[Planned]:
    """Every schedule of a run.

    Args:
        run: Set up; its limit and the length of an epoch are known.
        settings: The trainer's own schedules by name.
    """
    found = [_plan("trainer", name, schedule, run) for name, schedule in settings.items()]
    for owner, callback in run.callbacks.items():
        for option, schedule in _schedules_of(callback):
            found.append(_plan(owner, option, schedule, run))
    return found


def _schedules_of(callback: Callback[Any]) -> Iterator[tuple[str, Schedule]]:
    if isinstance(callback, PeriodicCallback) and callback.every is not None:
        yield "every", callback.every
    for option, value in vars(callback).items():
        if isinstance(value, (Every, AnyOf, AllOf)) and not option.startswith("_"):
            yield option, value


def _plan(owner: str, option: str, schedule: Schedule, run: Run) -> Planned:
    times = firings(schedule, run.limit)
    steps = tuple(islice(due_steps(schedule, run.limit, run.accumulate), _STEPS_SHOWN))
    first = steps[0] if steps and times != 0 else None
    spared = run.saver if run.saver is run.callbacks.get(owner) and option == "every" else None
    min_seconds = 0.0 if spared is None else spared.min_seconds
    callback = run.callbacks.get(owner)
    share = callback.time_percent if isinstance(callback, KeepsToTime) else None
    return Planned(owner, option, schedule, times, first, min_seconds, steps, share)


def findings(
    run: Run, evaluate_every: Schedule, evaluations: tuple[str, ...], log_every: Schedule
) -> list[Diagnostic]:
    """Errors, suspicious settings and possible gains of a run that is set up and not started.

    Args:
        run: Its models, optimizers, data, callbacks, limit and folder.
        evaluate_every: When the data sets are evaluated.
        evaluations: Their names.
        log_every: How often values are recorded.
    """
    settings = {"evaluate_every": evaluate_every, "log_every": log_every}
    schedules = planned(run, settings)
    return [
        *_folder(run),
        *_shared_paths(run),
        *_unknown_shares(schedules, run.limit),
        *_never_due(schedules, run.limit, evaluations),
        *_learning_rates(run),
        *_patience(run, firings(evaluate_every, run.limit)),
        *_steps(run),
        *_last_batch(run),
        *_checkpoints(run),
    ]


def _folder(run: Run) -> Iterator[Diagnostic]:
    """The run's folder, or the nearest one above it that is there, can be written."""
    folder = run.directory.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        why = f"{folder} is a file"
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = f"{folder} can't be written to"
    else:
        return
    needed = any(one.on_error == "raise" and one.writes for one in run.callbacks)
    yield Diagnostic(
        "error" if needed else "warning",
        "directory",
        f"the run's folder {run.directory} can't be made: {why}",
        "choose another `directory`",
        received=str(run.directory),
        option="directory",
    )


def _shared_paths(run: Run) -> Iterator[Diagnostic]:
    """Two callbacks that write one file would overwrite each other."""
    writers: dict[Path, list[tuple[str, str]]] = defaultdict(list)
    for name, callback in run.callbacks.items():
        for attribute in callback.writes:
            if value := vars(callback).get(attribute):
                writers[Path(os.path.normpath(run.directory / value))].append((name, attribute))
    for path, given in writers.items():
        if len(given) > 1:
            name, option = given[-1]
            yield Diagnostic(
                "error",
                name,
                f"writes {path}, and so does {given[0][0]!r}",
                "give one of them another name for it",
                option=option,
                callback=name,
            )


def _unknown_shares(schedules: list[Planned], limit: RunLimit) -> Iterator[Diagnostic]:
    """Shares of a run, or of an epoch, whose length nobody knows."""
    for one in schedules:
        if (error := is_unknown(one.schedule, limit)) is not None:
            yield Diagnostic(
                "error",
                one.option if one.owner == "trainer" else one.owner,
                f"`{one.option}`: {error.message}",
                error.remedy or "count steps",
                received=str(one.schedule),
                option=one.option,
                callback=None if one.owner == "trainer" else one.owner,
            )


def _never_due(
    schedules: list[Planned], limit: RunLimit, evaluations: tuple[str, ...]
) -> Iterator[Diagnostic]:
    length = _length(limit)
    for one in schedules:
        if one.times != 0 or (one.owner, one.option) == ("trainer", "log_every"):
            continue
        if one.owner != "trainer":
            yield Diagnostic(
                "warning",
                one.owner,
                f"`{one.option}: {one.schedule}` is never due in {length}",
                "choose a shorter schedule, or add `last: true` to it",
            )
        elif evaluations:
            yield Diagnostic(
                "warning",
                one.option,
                f"{', '.join(evaluations)} is evaluated once, at the end: {one.schedule} is never "
                f"reached in {length}",
                "choose a shorter schedule",
            )


def _length(limit: RunLimit) -> str:
    if limit.total_steps is not None:
        return f"a run of {limit.total_steps:,} steps"
    return f"a run of {limit.epochs} epochs"


def _learning_rates(run: Run) -> Iterator[Diagnostic]:
    """Schedulers of torch that are made for another length than the run's."""
    for name, scheduling in run.schedulings.items():
        yield from _other_length(run, f"scheduler of {name}", scheduling)
    for owner, callback in run.callbacks.items():
        if isinstance(callback, HasSchedulers):
            for scheduling in callback.schedulings.values():
                yield from _other_length(run, owner, scheduling)


def _other_length(run: Run, about: str, scheduling: Scheduling) -> Iterator[Diagnostic]:
    """A scheduler is made for one number of moves, and the run has another."""
    steps, epochs = run.limit.total_steps, run.limit.epochs
    interval, other = scheduling.interval, "epoch" if scheduling.interval == "step" else "step"
    moves = steps if interval == "step" else epochs
    if scheduling.is_ambiguous and run.limit.epoch_steps != 1:
        yield Diagnostic(
            "warning",
            about,
            f"nobody says whether its function counts steps or epochs: it moves {_times(epochs)}, "
            "after each epoch",
            "say `interval: epoch`, or `interval: step`",
        )
    option, length = _made_for(scheduling.scheduler)
    if moves is None or length in (None, moves):
        return
    remedy = f"give it {option}={moves}"
    if length == (epochs if interval == "step" else steps):
        remedy = f"`interval: {other}`, or {option}={moves}"
    severity: Severity = "warning"
    if length > moves:
        why = "the learning rate ends on its way"
    elif option == "total_steps":
        severity, why = "error", "torch raises an error then"
    else:
        why = "the learning rate rises again"
    yield Diagnostic(
        severity,
        about,
        f"is made for {length:,} {interval}s ({option}), and the run has {moves:,}: {why}",
        remedy,
    )


def _times(count: int | None) -> str:
    return "as often as there are epochs" if count is None else f"{count:,} times"


def _made_for(scheduler: Any) -> tuple[str, Any]:
    """The option in which a scheduler is told how often it will move, and how often that is."""
    for option in ("total_steps", "T_max"):
        if isinstance(length := getattr(scheduler, option, None), int):
            return option, length
    return "", None


def _patience(run: Run, evaluations: int | None) -> Iterator[Diagnostic]:
    if evaluations is None:
        return
    for name, callback in run.callbacks.items():
        if isinstance(callback, HasPatience) and callback.patience >= evaluations > 0:
            yield Diagnostic(
                "hint",
                name,
                f"patience={callback.patience} can't run out in {evaluations} evaluations",
                "less patience, or evaluate more often",
            )


def _steps(run: Run) -> Iterator[Diagnostic]:
    batches = run.data["train"].batches if "train" in run.data else None
    if batches is not None and run.accumulate > batches:
        yield Diagnostic(
            "warning",
            "accumulate",
            f"a step wants {run.accumulate} batches, and an epoch has {batches}",
            "fewer batches per step, or smaller batches",
        )
    for name, optimizer in run.optimizers.items():
        yield from _optimizer_forms(name, optimizer)


def _last_batch(run: Run) -> Iterator[Diagnostic]:
    """A last training batch that leaves a rank one sample, which batch norm can't normalize."""
    train: Any = run.data.get("train")
    size = batch_size_of(train.loader) if isinstance(train, DataSource) else None
    if size is None or train.samples is None or train.batches is None:
        return
    left, ranks = train.samples - (train.batches - 1) * size, run.world.size
    modules = [pair for model in run.models.values() for pair in model.named_modules()]
    norms = [n for n, one in modules if isinstance(one, nn.BatchNorm1d) and one.training]
    if norms and size // ranks > 1 >= left // ranks:
        each = "" if ranks == 1 else f" on {ranks} ranks"
        yield Diagnostic(
            "warning",
            "train",
            f"the last batch of an epoch has {left} of {size} samples{each}, and a single one "
            f"can't be normalized by {norms[0] or 'the model'!r} (BatchNorm1d)",
            "leave that batch out: `drop_last=True`, beside `batch_size` or in the DataLoader",
        )


def _optimizer_forms(name: str, optimizer: Any) -> Iterator[Diagnostic]:
    """Forms of torch's optimizers that take less time per step and are not taken unasked."""
    defaults = getattr(optimizer, "defaults", {})
    if defaults.get("foreach", False) is not None:
        return  # it doesn't have one, or the user has chosen
    if "fused" in defaults:
        if defaults["fused"] is None:
            yield Diagnostic(
                "hint",
                name,
                f"{type(optimizer).__name__} has a fused form, which takes less time per step",
                "give it `fused: true`, in code `fused=True` (the last bits of its results differ)",
            )
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # torch takes it by itself on accelerators. On the CPU it saves calls, and loses on large
    # tensors, which then leave the cache between two of its passes.
    small = sum(p.numel() for p in parameters) <= _SMALL_TENSOR * len(parameters)
    if len(parameters) > 1 and small and all(p.is_cpu for p in parameters):
        yield Diagnostic(
            "hint",
            name,
            f"{type(optimizer).__name__} has a form for all parameters at once, which takes less "
            "time per step where they are small",
            "give it `foreach: true`, in code `foreach=True` (the last bits of its results may "
            "differ)",
        )


def _checkpoints(run: Run) -> Iterator[Diagnostic]:
    steps = run.limit.total_steps or 0
    if steps >= _WITHOUT_CHECKPOINTS_STEPS and run.saver is None:
        yield Diagnostic(
            "warning",
            "checkpoint",
            f"nothing saves checkpoints in {steps:,} steps: a kill loses all of them",
            "add the callback `checkpoint`",
        )
