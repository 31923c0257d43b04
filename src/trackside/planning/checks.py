"""Checks before the first step, so that a run doesn't fail after the first hour."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trackside.data.loaders import Batching, is_cut_here
from trackside.data.source import DataSource
from trackside.errors import (
    ConfigurationError,
    DataError,
    DeclarationError,
    MonitorError,
    UsageError,
    did_you_mean,
)
from trackside.lifecycle.adoption import Adopted
from trackside.lifecycle.hooks import HOOKS, Callback
from trackside.loop.state import TRAIN, Setup
from trackside.loop.unlogged import watchers
from trackside.machine.accelerator import accelerator
from trackside.machine.paths import local_path
from trackside.planning.diagnostics import findings
from trackside.progress import RunLimit, is_count
from trackside.run import Run
from trackside.run_folder.claim import new_name
from trackside.schedule import Every, Schedule
from trackside.vocabulary.idioms import KEYWORDS
from trackside.vocabulary.renamed import new_value

logger = logging.getLogger("trackside")


def limit(epochs: int | None, steps: int | None) -> RunLimit:
    """The limit of a run. Raises `UsageError` where there is no limit, or it isn't a count."""
    if epochs is None and steps is None:
        raise UsageError(
            "`fit` has no limit: it would never end",
            expected="epochs=..., steps=..., or both",
            remedy="for example `trainer.fit(train, epochs=10)`",
        )
    for name, value in (("epochs", epochs), ("steps", steps)):
        if value is not None and not is_count(value):
            raise UsageError(
                f"{name}={value!r} is not a limit",
                expected="a whole number, 0 or more",
                option=name,
            )
    return RunLimit(epochs, steps)


def evaluation_schedule(given: Schedule | str | None, evaluations: Sequence[str]) -> Schedule:
    """When the data sets of these names are evaluated; after each epoch where nothing is given.

    Raises:
        ScheduleError: It isn't a schedule.
        UsageError: It is given, and there is nothing to evaluate.
    """
    schedule = Every.parse("1 epoch" if given is None else given, option="evaluate_every")
    if given is not None and not evaluations:
        raise UsageError(
            f"evaluate_every={str(schedule)!r} has no effect: there is nothing to evaluate",
            expected="validation data: fit(train, validation, ...)",
            remedy="leave `evaluate_every` out; callbacks such as `Evaluate` have an `every` of "
            "their own",
            option="evaluate_every",
        )
    return schedule


def check_batching(batching: Batching, sets: Mapping[str, Any]) -> None:
    """Refuse a size of batches where nothing is cut into batches here. Raises `UsageError`."""
    train = {name: one for name, one in sets.items() if name == TRAIN}
    given = [
        ("batch_size", batching.size, sets, batching.size is not None),
        ("drop_last", batching.drop_last, train, batching.drop_last),
    ]
    for option, value, named, is_given in given:
        if is_given and not any(is_cut_here(name, one) for name, one in named.items()):
            kinds = ", ".join(type(one).__name__ for one in named.values())
            raise UsageError(
                f"{option}={value!r} has no effect: the data comes in batches",
                expected="a Dataset, or samples by number, which are cut into batches here",
                received=kinds,
                remedy=f"give `{option}` to the loader, and leave it out here",
                option=option,
            )
    if batching.size is not None and not is_count(batching.size, at_least=1):
        raise UsageError(
            f"batch_size={batching.size!r} can't be used",
            expected="a whole number, 1 or more",
            option="batch_size",
        )


def know_length(run: Run) -> None:
    """Complete `run.limit` with the length of an epoch, where the training data has one."""
    train: DataSource | None = run.data.get(TRAIN)
    if run.mode != "fit" or train is None:
        return
    # Each rank may know another length of data of its own: what is due by shares is due together.
    lengths = run.world.gather(train.batches) if run.world.size > 1 else [train.batches]
    known = [length for length in lengths if length is not None]
    if len(known) == len(lengths):
        steps = math.ceil(min(known) / run.accumulate)
        run.limit = replace(run.limit, epoch_steps=steps, epoch_samples=train.samples)


def data_sets(
    train: Any, validation: Any, more: Mapping[str, Any] | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """All data of a `fit` by name, and the names of what is evaluated on schedule.

    A single set of evaluation data is called `val`.

    Raises:
        UsageError: A name can't be used, or two data sets have the same.
    """
    _check_arguments(train, validation)
    evaluated = validation if isinstance(validation, Mapping) else {"val": validation}
    evaluated = {name: one for name, one in evaluated.items() if one is not None}
    sets = {TRAIN: train}
    for name, one in [*evaluated.items(), *(more or {}).items()]:
        check_name(name)
        if name in sets:
            raise UsageError(
                f"two data sets are named {name!r}",
                received="the training data" if name == TRAIN else "`validation` and `data`",
                remedy="give one of them another name",
            )
        sets[name] = one
    return sets, tuple(evaluated)


def _check_arguments(train: object, validation: object) -> None:
    """Refuse what others call `fit` with.

    Raises:
        UsageError: A model.
        DataError: Inputs and targets apart.
    """
    if isinstance(train, nn.Module):
        raise UsageError(
            "`fit` was given a model, not data",
            received=type(train).__name__,
            remedy=KEYWORDS["Trainer.fit"]["model"],
        )
    arrays = (Tensor, np.ndarray)
    if isinstance(train, arrays) and isinstance(validation, arrays):
        raise DataError(
            "`fit` was given inputs and targets apart",
            received=f"{type(train).__name__} and {type(validation).__name__}",
            remedy=KEYWORDS["Trainer.fit"]["x"],
        )


def check_name(name: str) -> None:
    """Refuse a name that can't stand before the slash of a metric. Raises `UsageError`."""
    if "/" in name or name in ("train_recent", ""):
        raise UsageError(
            f"data can't be named {name!r}", expected="a name without a slash, not 'train_recent'"
        )


_NOT_OF_A_TRAINER = {
    "effect": "leave it out: a trainer trains, and what a callback does besides is its to say",
    "name": "it is called `trainer` everywhere: give the attribute another name",
    "runs_after": "its own hooks run before those of all callbacks: move them into a callback",
    "runs_before": "leave it out: its own hooks run before those of all callbacks",
    "settable": "`trackside ask RUN set` changes callbacks: move the option into one",
    "writes": "move what is written, and its declaration, into a callback",
}
"""Declarations of callbacks that have no effect on a trainer, and what to do instead."""


def check_trainer_declarations(trainer: Callback[Any]) -> None:
    """Refuse what a trainer inherits from `Callback` and can't use. Raises `DeclarationError`."""
    for name, remedy in _NOT_OF_A_TRAINER.items():
        given = getattr(trainer, name)
        if given != getattr(Callback, name):
            raise DeclarationError(
                f"`{type(trainer).__name__}.{name}` has no effect: a trainer can't declare it",
                received=repr(given),
                remedy=remedy,
            )


def check_device(device: str | int | torch.device) -> torch.device:
    """The device of a run.

    Raises:
        ConfigurationError: torch doesn't know it, or this machine doesn't have it.
    """
    if device == "auto":
        return accelerator() or torch.device("cpu")
    try:
        known = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(
            f"device={device!r} doesn't exist",
            expected="'auto', 'cpu', 'cuda', 'cuda:1', 'mps', ...",
            remedy=did_you_mean(str(device), ("auto", "cpu", "cuda", "mps", "xpu")),
            option="device",
        ) from error
    found = accelerator()
    if known.type not in ("cpu", "meta") and (found is None or found.type != known.type):
        raise ConfigurationError(
            f"device={str(device)!r} isn't available on this machine",
            received=f"accelerator: {found.type if found else 'none'}",
            remedy="use 'auto' or 'cpu'",
            option="device",
        )
    return known


def directory(given: str | Path | None) -> Path:
    """The run's folder: the one given, or a new name under `runs/`. It isn't made yet."""
    if given is not None:
        return local_path(given, "directory")
    return new_name()


def describe(trainer: Any) -> dict[str, Any]:
    """Settings of a trainer as plain values, for loggers."""
    settings = trainer.settings
    experiment = {} if trainer.experiment is None else {"experiment": dict(trainer.experiment)}
    made_by = {} if trainer.made_by is None else {"made_by": dict(trainer.made_by)}
    return (
        experiment
        | made_by
        | {
            "seed": trainer.seed,
            "precision": trainer.precision,
            "accumulate": trainer.accumulate,
            "clip": repr(trainer.clip) if trainer.clip else None,
            "metrics": sorted(trainer.metrics),
            "device": str(settings.device),
            "compile": bool(settings.compile),
            "step": settings.step,
            "log_every": str(settings.log_every),
            "deterministic": settings.deterministic,
        }
    )


def logs_of_its_own(kind: type, base: type) -> bool:
    """Whether a trainer's class overrides a step or a hook: there it may log anything."""
    places = ("training_step", "evaluation_step", *HOOKS)
    return any(getattr(kind, name) is not getattr(base, name) for name in places)


def check(setup: Setup, *, open_ended: bool) -> None:
    """Refuse a run that must fail later: data that runs out, monitors that nothing logs.

    Args:
        setup: The run, set up and not started.
        open_ended: Overridden steps may log values that can't be known beforehand.
    """
    check_passes(setup)
    check_monitors(setup, open_ended=open_ended)
    report(setup)


def check_passes(setup: Setup) -> None:
    """Refuse iterators that would have to be passed over again. Raises `UsageError`."""
    epochs = setup.run.limit.epochs
    again = [
        *setup.options.evaluations,
        *([TRAIN] if epochs is not None and epochs > 1 else []),
    ]
    for name in again:
        if isinstance(setup.sources[name].loader, Iterator):
            raise UsageError(
                f"the data named {name!r} can be passed over once only",
                expected="data that can be read again: a Dataset, a DataLoader, a list",
                received=type(setup.sources[name].loader).__name__,
                remedy="make a list of its batches"
                + (", or limit the run by `steps`" if name == TRAIN else ""),
            )


def report(setup: Setup) -> None:
    """Refuse a run that diagnostics call an error; log the warnings.

    Raises:
        ConfigurationError: Two callbacks write one file, or the run's folder can't be written.
    """
    run, options = setup.run, setup.options
    for finding in findings(run, options.evaluate_every, options.evaluations, options.log_every):
        if finding.severity == "error":
            raise ConfigurationError(
                f"{finding.about}: {finding.message}",
                received=finding.received,
                remedy=finding.remedy,
                option=finding.option,
                callback=finding.callback,
            )
        if finding.severity == "warning" and run.world.rank == 0:
            logger.warning("%s", finding)


def check_monitors(setup: Setup, *, open_ended: bool) -> None:
    """Refuse a callback or scheduler that watches a value which nothing will log.

    Where overridden steps, or callbacks that don't declare what they log, may log more than is
    known here, only values that the loop itself would log are refused.

    Raises:
        MonitorError: Names the values that are logged.
    """
    run = setup.run
    known = {"train/loss"}
    for name in setup.options.evaluations:
        known |= {f"{name}/{metric}" for metric in ("loss", *setup.metrics, *setup.functions)}
    prefixes = tuple(f"{n}/{m}_" for n in setup.options.evaluations for m in setup.metrics)
    for names in (setup.steps.logs, *(callback.logs for callback in run.callbacks)):
        known |= {name for name in names if not name.endswith("*")}
        prefixes += tuple(name[:-1] for name in names if name.endswith("*"))
    for callback in run.callbacks:
        ours = type(callback).__module__.startswith("trackside.")
        ours = ours and not isinstance(callback, Adopted)  # whose class is another framework's
        open_ended = open_ended or not (ours or callback.logs)
    for watcher, monitor in watchers(setup):
        if monitor in known or monitor.startswith(prefixes):
            continue
        topic, _, metric = monitor.partition("/")
        if (
            open_ended
            and new_value(monitor) is None
            and not (metric == "loss" and topic not in setup.options.evaluations)
        ):
            continue
        raise MonitorError(
            f"{watcher!r} watches {monitor!r}, and nothing logs it",
            expected="one of " + ", ".join(sorted(known)),
            received=monitor,
            remedy=_monitor_remedy(monitor, topic, known, setup),
            option=None
            if watcher == "trainer"
            else _option_watching(run.callbacks.get(watcher), monitor),
            callback=watcher if watcher in run.callbacks else None,
        )


def _option_watching(watcher: object, monitor: str) -> str | None:
    """The constructor's option in which `watcher` was given the name of what it watches."""
    for option in inspect.signature(type(watcher).__init__).parameters:
        given = getattr(watcher, option, None)
        if isinstance(given, str):
            names = given == monitor or f"{{{monitor}" in given
        else:
            names = isinstance(given, (Sequence, Mapping)) and monitor in given
        if names:
            return option
    return None if isinstance(watcher, Callback) else "monitor"


def _monitor_remedy(monitor: str, topic: str, known: set[str], setup: Setup) -> str | None:
    if (new := new_value(monitor)) is not None:
        now = f"it is called `{new}` now, and recorded within epochs"
        return f"{now}: watch `train/{monitor.partition('/')[2]}`"
    if topic == "train_recent":
        return f"it is recorded within epochs, not at their ends: watch `train/{monitor[13:]}`"
    if topic in setup.sources and topic != TRAIN and topic not in setup.options.evaluations:
        return f"give {topic!r} to `fit` as `validation`, so that it is evaluated"
    if topic not in setup.sources and not setup.options.evaluations:
        return "give `fit` validation data: fit(train, validation, ...)"
    return did_you_mean(monitor, known)
