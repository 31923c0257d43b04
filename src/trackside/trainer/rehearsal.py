"""A rehearsal: every path of a run in seconds, on two batches, with nothing left of it.

What fails after the first hour of a run is what happens seldom: the first save, the end of an
epoch, a resume, the clean-up after an error. A rehearsal goes through all of it with the run's own
model, data and callbacks, made or copied a second time, in a folder that is deleted. Generators are
put back: the run that follows is bitwise the run without a rehearsal.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from trackside.checkpoint.saver import saver_among
from trackside.data.loaders import Batching
from trackside.data.map_style import is_map_style
from trackside.data.recognition import RankData
from trackside.data.tensors import as_dataset
from trackside.distributed import RankInfo
from trackside.errors import ConfigurationError, TracksideError, UsageError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.machine import randomness
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.schedule import Every
from trackside.trainer.settings import Settings

BATCHES = 2
"""How many of each data set are rehearsed with."""


class RehearsalError(TracksideError):
    """Something failed in the rehearsal that would have failed in the run."""


class _NotCopiedError(RehearsalError):
    """The rehearsal couldn't begin."""


class _ProvokedError(Exception):
    """Raised on purpose, to see what the callbacks make of an error."""


class _Ended(Protocol):
    @property
    def outcome(self) -> Outcome: ...

    @property
    def failed_callbacks(self) -> Mapping[str, int]: ...


class Rehearsed(Protocol):
    """The part of a trainer that a rehearsal needs."""

    callbacks: CallbackCollection
    settings: Settings

    @property
    def fit(self) -> Callable[..., _Ended]:
        """Trains."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Report of a rehearsal: the parts that it went through."""

    seconds: float
    parts: tuple[str, ...]
    left_out: tuple[str, ...]
    """Names of callbacks that did not take part."""
    failed: tuple[str, ...] = ()
    """Names of callbacks that failed and, by their `on_error`, only warn of it."""

    def __str__(self) -> str:
        text = f"rehearsed in {self.seconds:.1f} s: {', '.join(self.parts)}"
        text += f"; without {', '.join(self.left_out)}" if self.left_out else ""
        return text + (f"; {', '.join(self.failed)} failed" if self.failed else "")


@dataclass(slots=True)
class Stage:
    """The trainer and the data of a rehearsal."""

    trainer: Callable[[Path], Any]
    """A new trainer that writes into this folder; see `Rehearsed`."""
    arguments: Callable[[], dict[str, Any]]
    """Of `fit`, with the first batches of each data set."""
    evaluate: Callable[[Any], None] | None = None
    """Work after training."""
    located: Callable[[ConfigurationError], TracksideError] = lambda error: error
    """The same error at its place in a file."""
    done: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


def go_through(stage: Stage) -> Rehearsal:
    """Go through all that a run will do, one part after the other; leave nothing behind.

    Raises:
        RehearsalError: Names the part that failed; the error is its cause.
        UsageError: In a process that is one of several.
    """
    if RankInfo.from_environment().size > 1:
        raise UsageError(
            "a rehearsal on several ranks would need them all",
            remedy="rehearse in one process first; `trackside train --rehearse --processes 2` does",
        )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trackside-rehearsal-") as folder, _quietly():
        _go_through(stage, Path(folder) / "run")
    seconds = time.perf_counter() - began
    return Rehearsal(
        seconds, tuple(stage.done), tuple(sorted(stage.left_out)), tuple(sorted(stage.failed))
    )


def _go_through(stage: Stage, folder: Path) -> None:
    with _part(stage, "train, evaluate, save and close"):
        trainer, result = _fit(stage, folder, epochs=2)
    saves = saver_among(trainer.callbacks) is not None
    if saves and result.outcome.status is Status.COMPLETED:
        with _part(stage, "resume"):
            _fit(stage, folder, epochs=3, resume="auto")
    if stage.evaluate is not None:
        with _part(stage, "evaluate at the end"):
            stage.evaluate(trainer)
    with _part(stage, "fail and clean up"):
        _fail(stage, folder)


def _fail(stage: Stage, folder: Path) -> None:
    """An error in the first step has to come out, and closing has to bring up no other."""
    try:
        _fit(stage, folder, epochs=1, fault=_Fault())
    except _ProvokedError as error:
        others = [n for n in getattr(error, "__notes__", ()) if n.startswith("while ")]
        if others:
            raise RehearsalError(others[0]) from error
        return
    raise RehearsalError("an error in a step was swallowed")


@contextlib.contextmanager
def _part(stage: Stage, name: str) -> Iterator[None]:
    try:
        yield
    except _NotCopiedError:
        raise
    except ConfigurationError as error:
        raise stage.located(error) from error
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        raise RehearsalError(
            f"the rehearsal failed when it had to {name}: {type(error).__name__}: {error}"
            + (f" ({notes})" if notes else ""),
            remedy="the run would have failed there as well; nothing of it was started",
        ) from error
    stage.done.append(name)


def _fit(
    stage: Stage,
    folder: Path,
    *,
    epochs: int,
    resume: str | None = None,
    fault: Callback[Any] | None = None,
) -> tuple[Rehearsed, _Ended]:
    trainer: Rehearsed = stage.trainer(folder)
    for name, callback in trainer.callbacks.items():
        # Trackers keep it to the folder, and callbacks that notify people take no part.
        if not callback.rehearse_in(folder.parent):
            stage.left_out.add(name)
            del trainer.callbacks[name]
        elif isinstance(callback, PeriodicCallback) and callback.every is not None:
            callback.every = Every(steps=1) | Every(epochs=1)
    if fault is not None:
        trainer.callbacks.append(fault)
    arguments = stage.arguments() | {"epochs": epochs, "steps": None, "resume": resume}
    result = trainer.fit(**arguments)
    stage.failed |= result.failed_callbacks.keys()
    return trainer, result


class _Fault(Callback[Run]):
    """Fails in the first step."""

    def on_step_end(self, run: Run) -> None:
        raise _ProvokedError("provoked by the rehearsal")


# --- a trainer that was made in Python -----------------------------------------------------------


def rehearse(
    trainer: Rehearsed, train: Any, validation: Any, data: Any, batching: Batching
) -> Rehearsal:
    """Rehearse with copies of a trainer; it stays as it is.

    Args:
        trainer: The trainer.
        train: Training data.
        validation: Data, or several by name, that are evaluated; None for none.
        data: More data by name.
        batching: How data is cut into batches that comes as samples.

    Raises:
        RehearsalError: A part failed, or the trainer can't be copied.
        UsageError: Data can be passed over once only, and the run needs it.
    """
    sets = {"train": train, "validation": validation, "data": data}
    for name, data in _named(sets).items():
        if isinstance(data, Iterator):
            raise UsageError(
                f"the data named {name!r} can be passed over once only: a rehearsal takes of it",
                expected="data that can be read again: a Dataset, a DataLoader, a list",
            )

    def first(data: Any) -> Any:
        if isinstance(data, Mapping) and as_dataset("rehearsed", data) is None:
            return {name: first_batches(one, batching.samples) for name, one in data.items()}
        return None if data is None else first_batches(data, batching.samples)

    def made(folder: Path) -> Rehearsed:
        twin = _copied(trainer)
        twin.settings = replace(twin.settings, directory=folder, log_every="1 step")
        return twin

    def fit_arguments() -> dict[str, Any]:
        found = {name: first(data) for name, data in sets.items()}
        size = {"batch_size": batching.size, "drop_last": batching.drop_last}
        return {**found, **size}

    done = go_through(Stage(made, fit_arguments))
    logging.getLogger("trackside").info("%s", done)
    return done


def _named(sets: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for argument, data in sets.items():
        inner = isinstance(data, Mapping) and argument != "train"
        found |= dict(data) if inner else {argument: data}
    return found


def _copied(trainer: Rehearsed) -> Rehearsed:
    # Modules that objects refer to are no part of them.
    memo: dict[int, Any] = {id(module): module for module in list(sys.modules.values())}
    try:
        return copy.deepcopy(trainer, memo)
    except Exception as error:
        raise _NotCopiedError(
            f"the trainer can't be copied for a rehearsal: {type(error).__name__}: {error}",
            remedy="give functions that make the model and the optimizer, and let callbacks open "
            "what they need in `on_fit_start`",
        ) from error


# --- two batches ---------------------------------------------------------------------------------


def first_batches(data: Any, batch_size: int) -> Any:
    """The first batches of a data set, in the form that the data set itself has."""
    if isinstance(data, RankData):
        return RankData(first_batches(data.data, batch_size))
    data = as_dataset("rehearsed", data) or data
    map_style = isinstance(data, Dataset) and not isinstance(data, IterableDataset)
    if map_style or is_map_style(data):
        return _first_samples(data, batch_size)
    batched = isinstance(data, DataLoader) and data.batch_size is not None
    if batched and not isinstance(data.dataset, IterableDataset):
        return DataLoader(
            _first_samples(data.dataset, data.batch_size),
            batch_size=data.batch_size,
            num_workers=data.num_workers,
            collate_fn=data.collate_fn,
            worker_init_fn=data.worker_init_fn,
        )
    if isinstance(data, IterableDataset):
        return _FirstSamples(data, BATCHES * batch_size)
    return _First(data)


def _first_samples(data: Any, batch_size: int) -> Subset[Any]:
    samples = len(data) if isinstance(data, Sized) else BATCHES * batch_size
    return Subset(data, range(min(samples, BATCHES * batch_size)))


class _FirstSamples(IterableDataset[Any]):
    """A data set that ends early."""

    def __init__(self, data: Iterable[Any], samples: int) -> None:
        self.data = data
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.data), self.samples)


class _First:
    """A loader that ends early."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.loader), BATCHES)

    def __len__(self) -> int:
        length = len(self.loader) if isinstance(self.loader, Sized) else BATCHES
        return min(length, BATCHES)


# --- nobody hears of it --------------------------------------------------------------------------


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress output and records, and restore random generators."""
    logger = logging.getLogger("trackside")
    level, mode = logger.level, os.environ.get("WANDB_MODE")
    logger.setLevel(logging.CRITICAL)
    os.environ["WANDB_MODE"] = "disabled"  # for those that user code starts by itself
    try:
        with (
            randomness.preserved(),
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logger.setLevel(level)
        del os.environ["WANDB_MODE"]
        if mode is not None:
            os.environ["WANDB_MODE"] = mode
