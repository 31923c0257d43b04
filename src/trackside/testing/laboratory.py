"""Runs of a tiny task with one callback under test, for the rules of the contract."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from torch import Tensor

from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing.recording import Recorder
from trackside.testing.simulated_world import SimulatedWorld
from trackside.testing.tasks import Task
from trackside.trainer.assembly import events_of
from trackside.trainer.guarding import GuardKind, WaitGuard
from trackside.trainer.settings import Result, Settings
from trackside.trainer.trainer import Trainer

T = TypeVar("T")
EPOCHS = 2


class Broken(Exception):
    """A rule does not hold.

    Args:
        what: What happened.
        fix: What its author should do.
    """

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(what)


@dataclass
class Trial:
    """Result of one run of the callback under test."""

    callback: Callback[Any] | None
    """The callback under test; None in a run without it."""
    result: Result | None
    error: BaseException | None
    weights: Tensor
    events: list[str]
    """The events of a callback that joined before it."""
    closed: int
    """How often the callback was closed."""
    history: dict[tuple[int, int, str], float] = field(default_factory=dict)
    """Values by number of their record among those of the step, step, and name."""
    world: SimulatedWorld | None = None
    name: str = ""
    """Name of the callback under test in the run."""
    waits: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    """Waits for the device by callback, hook, file and line; known under the guard `waits`."""


class Laboratory:
    """Makes the callback under test and trains with it.

    Args:
        factory: Makes the callback from `options`.
        options: What it is called with.
        make_task: Makes the task.
        observer: Whether it only watches.
        beside: Makes other callbacks that it needs.
        trainer: Options of the trainer.
        measured: Patterns of logged values that depend on the machine.
        thorough: Whether to try every step and hook, and not some.
    """

    def __init__(
        self,
        factory: Callable[..., Callback[Any]],
        options: dict[str, Any],
        make_task: Callable[[], Task],
        observer: bool,
        beside: Callable[[], Sequence[Callback[Any]]],
        trainer: Mapping[str, Any],
        measured: Sequence[str],
        thorough: bool,
    ) -> None:
        self.factory = factory
        self.options = options
        self.observer = observer
        self.measured = tuple(measured)
        self.thorough = thorough
        self._make_task = make_task
        self.beside = beside
        self._trainer = dict(trainer)
        self.title = getattr(factory, "__name__", repr(factory))
        self.seconds_per_step = 0.0
        """Of the newest run that came to its end."""
        self._undisturbed: Trial | None = None

    def make(self) -> Callback[Any]:
        """Make a new callback under test."""
        return self.factory(**self.options)

    def undisturbed(self) -> Trial:
        """A run with the callback, alone, in which nothing goes wrong; made once."""
        if self._undisturbed is None:
            with folder() as place:
                self._undisturbed = self.run(place, callback=self.make())
        return self._undisturbed

    def chosen(self, several: Sequence[T], one_in: int) -> list[T]:
        """Some of `several`, the same ones each time; all of them when it is to be thorough."""
        if self.thorough:
            return list(several)
        return list(several)[crc32(self.title.encode()) % one_in :: one_in]

    def run(
        self,
        folder: Path,
        *,
        callback: Callback[Any] | None = None,
        others: Sequence[Callback[Any]] = (),
        saving: str | None = None,
        resume: bool = False,
        fits: int = 1,
        rank: int | None = None,
        world: SimulatedWorld | None = None,
        guard: GuardKind = None,
    ) -> Trial:
        """Train a new model of the task, with `callback` if there is one.

        Args:
            folder: The run's folder.
            callback: The callback under test.
            others: Who joins after it.
            saving: How often a checkpoint is saved, such as `1 step`; None: never.
            resume: Whether to go on from the newest checkpoint in `folder`.
            fits: How often to train, one after the other, with the same trainer.
            rank: Number of the simulated rank; None: the only one.
            world: The simulated ranks.
            guard: What looks on at each hook; see `Settings.guard`.

        Returns:
            The run, its error included: none is raised.
        """
        task, recorder, watch = self._make_task(), Recorder(), _Closings()
        recorder.name = "contract_recorder"
        members: list[Callback[Any]] = [recorder, *self.beside()]
        if callback is not None:
            members.append(watch.over(callback))
        if saving and not any(isinstance(member, Checkpoint) for member in members):
            members.append(Checkpoint(saving, keep_last=None, at_end=False))
        trainer = _SimulatedRank(
            task.model,
            **{
                "loss": task.loss,
                "optimizer": task.optimizer,
                "metrics": task.metrics,
                "defaults": False,
                "seed": 0,
                "settings": Settings(
                    directory=folder, device="cpu", log_every="1 step", guard=guard
                ),
                **self._trainer,
            },
            callbacks=[*members, *others],
        )
        trainer.simulated = None if world is None else (rank or 0, world)
        result, error = None, None
        with quiet():
            for _ in range(fits):
                try:
                    result = trainer.fit(
                        task.train,
                        task.validation,
                        epochs=EPOCHS,
                        evaluate_every="2 steps",
                        resume="auto" if resume else None,
                    )
                except BaseException as caught:  # handed to the rule, which expects it or not
                    error = caught
                    break
        trial = Trial(
            callback, result, error, task.weights, recorder.names, watch.closed, world=world
        )
        if isinstance(trainer.guard, WaitGuard):
            trial.waits = trainer.guard.places
        if callback is not None and callback in trainer.callbacks:
            trial.name = trainer.callbacks.name_of(callback)
        if result is not None:
            trial.history = _by_place(result)
            if callback is not None and error is None:
                spent = result.callback_seconds.get(trainer.callbacks.name_of(callback), 0.0)
                self.seconds_per_step = spent / max(result.outcome.step, 1)
        return trial


class _SimulatedRank(Trainer):
    """A trainer that can pretend, to its callbacks, to be one rank of several."""

    simulated: tuple[int, SimulatedWorld] | None = None
    guard: Any = None
    """The guard of its last run."""

    def on_setup_end(self, run: Any) -> None:
        if self.simulated is not None:
            run.world = self.simulated[1]

    def make_events(self, run: Run) -> Dispatcher:
        events = super().make_events(run)
        if self.simulated is not None:
            events = self._events = events_of(run, self.simulated[0])
        self.guard = events.guard
        return events


class _Closings:
    """Counts how often a callback is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def over(self, callback: Callback[Any]) -> Callback[Any]:
        close = callback.on_close

        def counted(run: Any, outcome: Any) -> None:
            self.closed += 1
            close(run, outcome)

        callback.on_close = counted  # type: ignore[method-assign]
        return callback


def _by_place(result: Result) -> dict[tuple[int, int, str], float]:
    found: dict[tuple[int, int, str], float] = {}
    for record in result.history:
        for name, value in record.values.items():
            number = 0
            while (number, record.step, name) in found:
                number += 1
            found[number, record.step, name] = value
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress output that is printed inside."""
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        yield


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="trackside-contract-") as name:
        yield Path(name)
