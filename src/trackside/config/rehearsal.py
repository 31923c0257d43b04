"""`--rehearse`: every path of a run in seconds, on two batches, with nothing left of it.

What fails after the first hour of a run is what happens seldom: the first save, the end of an
epoch, a resume, the clean-up after an error. A rehearsal goes through all of it with the run's own
model, data and callbacks, made a second time, in a folder that is deleted. Generators are put back:
the run that follows is bitwise the run without a rehearsal.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from trackside import randomness
from trackside.config.experiment import Experiment
from trackside.errors import ConfigurationError, TracksideError
from trackside.lifecycle import Callback
from trackside.outcome import Status
from trackside.periodic import PeriodicCallback
from trackside.run import Run
from trackside.schedule import Every
from trackside.trainer import Trainer

BATCHES = 2
"""How many of each data set are rehearsed with."""

_TRACKERS: dict[str, dict[str, str]] = {
    "WandB": {"mode": "disabled"},
    "MLflow": {"tracking_uri": "sqlite:///{folder}/mlflow.db"},
}
"""Options that keep a tracker from telling anybody about a rehearsal."""
_LEFT_OUT = ("Notify",)
"""Callbacks that would tell people."""


class RehearsalError(TracksideError):
    """Something failed in the rehearsal that would have failed in the run."""


class _ProvokedError(Exception):
    """Raised on purpose, to see what the callbacks make of an error."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was gone through."""

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


def rehearse(experiment: Experiment) -> Rehearsal:
    """Go through all that a run of `experiment` will do; leave nothing behind.

    Raises:
        RehearsalError: Names the part that failed; the error is its cause.
        ExperimentError: Something of it can't be made.
    """
    began = time.perf_counter()
    left_out = tuple(
        name
        for name, one in experiment.callbacks.items()
        if one is not None and one.name.rpartition(".")[2] in _LEFT_OUT
    )
    with tempfile.TemporaryDirectory(prefix="trackside-rehearsal-") as folder, _quietly():
        muted = _muted(experiment, Path(folder), left_out)
        parts = _Parts(muted, Path(folder) / "run")
        parts.go_through()
    failed = tuple(sorted(parts.failed))
    return Rehearsal(time.perf_counter() - began, tuple(parts.done), left_out, failed)


class _Parts:
    """One part after the other, each with a trainer of its own."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment = experiment
        self.folder = folder
        self.done: list[str] = []
        self.failed: set[str] = set()

    def go_through(self) -> None:
        with self._part("train, evaluate, save and close"):
            trainer, result = self._fit(epochs=2)
        saves = any(hasattr(callback, "retention") for callback in trainer.callbacks)
        if saves and result.outcome.status is Status.COMPLETED:
            with self._part("resume"):
                self._fit(epochs=3, resume="auto")
        if self.experiment.evaluate:
            with self._part("evaluate at the end"):
                data = self._data()
                for name in self.experiment.evaluate:
                    size = self.experiment.batch_size_argument()
                    trainer.evaluate(data[name], name=name, **size)
        with self._part("fail and clean up"):
            self._fail()

    def _fail(self) -> None:
        """An error in the first step has to come out, and closing has to bring up no other."""
        try:
            self._fit(epochs=1, fault=_Fault())
        except _ProvokedError as error:
            others = [n for n in getattr(error, "__notes__", ()) if n.startswith("while ")]
            if others:
                raise RehearsalError(others[0]) from error
            return
        raise RehearsalError("an error in a step was swallowed")

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            raise self.experiment.located(error) from error
        except Exception as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            raise RehearsalError(
                f"the rehearsal failed when it had to {name}: {type(error).__name__}: {error}"
                + (f" ({notes})" if notes else ""),
                remedy="the run would have failed there as well; nothing of it was started",
            ) from error
        self.done.append(name)

    def _fit(
        self, *, epochs: int, resume: str | None = None, fault: Callback[Any] | None = None
    ) -> tuple[Trainer, Any]:
        trainer = self.experiment.trainer(self.folder)
        for callback in trainer.callbacks:
            if isinstance(callback, PeriodicCallback) and callback.every is not None:
                PeriodicCallback.__init__(callback, Every(steps=1) | Every(epochs=1))
        if fault is not None:
            trainer.callbacks.append(fault)
        arguments = self.experiment.fit_arguments(self._data())
        arguments |= {"epochs": epochs, "steps": None, "resume": resume}
        result = trainer.fit(**arguments)
        self.failed |= result.failed_callbacks.keys()
        return trainer, result

    def _data(self) -> dict[str, Any]:
        size = self.experiment.batch_size_argument().get("batch_size", 32)
        made = self.experiment.make_data()
        return {name: first_batches(data, size) for name, data in made.items()}


class _Fault(Callback[Run]):
    """Fails in the first step."""

    def on_step_end(self, run: Run) -> None:
        raise _ProvokedError("provoked by the rehearsal")


# --- two batches ---------------------------------------------------------------------------------


def first_batches(data: Any, batch_size: int) -> Any:
    """The first batches of a data set, in the form that the data set itself has."""
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        samples = len(data) if isinstance(data, Sized) else BATCHES * batch_size
        return Subset(data, range(min(samples, BATCHES * batch_size)))
    batched = isinstance(data, DataLoader) and data.batch_size is not None
    if batched and not isinstance(data.dataset, IterableDataset):
        return DataLoader(
            first_batches(data.dataset, data.batch_size),
            batch_size=data.batch_size,
            num_workers=data.num_workers,
            collate_fn=data.collate_fn,
            worker_init_fn=data.worker_init_fn,
        )
    if isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=batch_size)
    return _First(data)


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


def _muted(experiment: Experiment, folder: Path, left_out: tuple[str, ...]) -> Experiment:
    """The experiment without those who would tell people, its trackers talking to nobody."""
    callbacks: dict[str, Any] = {}
    for name, one in experiment.callbacks.items():
        options = _TRACKERS.get(one.name.rpartition(".")[2]) if one is not None else None
        if one is not None and options is not None:
            told = {key: value.format(folder=folder) for key, value in options.items()}
            one = replace(one, arguments={**one.arguments, **told})
        if name not in left_out:
            callbacks[name] = one
    values: Mapping[str, Any] = {
        key: value
        for key, value in experiment.trainer_values.items()
        if key not in ("directory", "log_every", "evaluate_every", "resume")
    }
    more = {"log_every": Every(steps=1), "evaluate_every": Every(epochs=1)}
    known = experiment.keys.options.table
    return replace(
        experiment,
        callbacks=callbacks,
        trainer_values={**values, **{k: v for k, v in more.items() if k in known}},
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Nothing printed, nothing logged, generators as they were."""
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
