"""A run that is led by another trainer: its words in, hooks of Trackside's callbacks out."""

from __future__ import annotations

import atexit
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trackside.by_hand import assembling
from trackside.by_hand.engine import Engine
from trackside.by_hand.led import LedRun
from trackside.by_hand.lifespan import Lifespan
from trackside.by_hand.steps import HandSteps
from trackside.checkpoint.saver import saver_among
from trackside.data.loaded import LoadedBatch, Origin
from trackside.errors import UsageError
from trackside.guests.evaluation import GuestEvaluation
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import HOOKS, Callback, is_overridden
from trackside.loop.recording import record
from trackside.outcome import Outcome, Status
from trackside.planning import checks
from trackside.progress import RunLimit
from trackside.run import Run
from trackside.run_folder.of_run import RunFolder
from trackside.schedule import Schedule

logger = logging.getLogger("trackside")


class GuestRun(LedRun):
    """The run of another trainer, as callbacks see it."""


class Guest:
    """Callbacks of Trackside in another trainer.

    The trainer's events come in through the methods, in its order. Used with `with`, all callbacks
    are closed when the block ends, whatever the trainer says; otherwise at the latest when the
    program ends.

    Args:
        host: The trainer's name, for messages.
        callbacks: Callbacks of Trackside.
        fired: Hooks that this trainer can fire, beside those of every run.
        directory: The run's folder; None makes a new one under `runs/`.
        log_every: How often values are recorded.

    Raises:
        UsageError: A callback saves the run, which only its trainer can; or this process is one of
            several.
        RegistrationError: A callback can't join.
    """

    def __init__(
        self,
        host: str,
        callbacks: Iterable[Any],
        *,
        fired: Iterable[str],
        directory: str | Path | None = None,
        log_every: Schedule | str = "50 steps",
    ) -> None:
        assembling.refuse_several_ranks()
        self.host = host
        self._callbacks = list(callbacks)
        self._fired = frozenset(fired)
        self._directory, self._log_every = directory, log_every
        if (saver := saver_among(self._callbacks)) is not None:
            raise UsageError(
                f"`{type(saver).__name__}` can't save a run of {host}: its loop isn't Trackside's",
                remedy="keep weights with `SaveWeights` or `BestCheckpoint`; for exact resume, see "
                "`trackside.resume`",
            )
        self.run: GuestRun
        """The run; there from `attach` on."""
        self.engine: Engine | None = None
        """The engine; there while the trainer trains."""
        self.evaluation: GuestEvaluation | None = None
        """The evaluation under way."""
        self._lifespan: Lifespan | None = None
        self._folder = RunFolder()
        self._models: Mapping[str, nn.Module] = {}

    # --- the whole -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.fail(error)
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether callbacks are attached."""
        return self._lifespan is not None and self._lifespan.is_open

    def attach(self, model: nn.Module) -> None:
        """A training begins: callbacks join its run."""
        self.close()
        self._models = {"model": model}
        self.run = GuestRun(
            "fit", assembling.directory_of(self._directory), events=self._make_events
        )
        self.run.config = {"host": self.host, "log_every": str(self._log_every)}
        self._lifespan = Lifespan(self.run, self._events, None)
        self._lifespan.begin()
        atexit.register(self.close)

    def _make_events(self, run: Run) -> Dispatcher:
        self._events = assembling.start(run, self._models, self._callbacks)
        return self._events

    def begin(
        self,
        optimizers: Mapping[str, Optimizer],
        data: Any,
        limit: RunLimit,
        *,
        accumulate: int = 1,
        done: tuple[int, int] = (0, 0),
    ) -> None:
        """Everything is made, and training begins.

        Args:
            optimizers: Those of torch, by name; none where the trainer has others.
            data: The training loader, or how many batches it has; None where nobody knows.
            limit: How far the trainer goes.
            accumulate: Batches per step.
            done: Steps and epochs that are made already.
        """
        run = self.run
        run.limit, run.batches_of_step = limit, accumulate
        loader = data
        if not isinstance(data, DataLoader):
            loader = _Elsewhere(self.host) if data is None else _Counted(self.host, data)
        training = assembling.assemble(
            run, self._events, self._models, optimizers, loader, HandSteps({}), self._log_every
        )
        self._folder.take(run, is_new=self._directory is None)
        self._folder.sign(run)
        run.progress.steps_completed, run.progress.epochs_completed = done
        run.progress.epochs_closed = done[1]
        training.fire(Callback.on_setup_end)
        self._tell_unfired()
        checks.report(training.setup)
        self.engine = Engine(training, watch_updates=False)
        self.engine.begin()
        self._after_safe_point()

    def _tell_unfired(self) -> None:
        """Say which hooks of which callbacks this trainer can't fire. Raises `UsageError`."""
        for name, callback in self.run.callbacks.items():
            heard = {hook for hook in HOOKS if is_overridden(callback, hook)} & OF_TRAINING
            lost = sorted(heard - self._fired)
            of_loss = {"on_backward_start", "on_backward_end"} & set(lost)
            if lost and (lost == sorted(heard) or (of_loss and not heard & self._fired & _LATER)):
                raise UsageError(
                    f"{name!r} needs hooks that {self.host} can't fire",
                    received=", ".join(lost),
                    remedy="take it out; where `on_optimizer_step_start` fires, "
                    "`TerminateOnNonFinite(gradients=True)` looks at gradients",
                    callback=name,
                )
            if lost:
                logger.warning("%r: %s can't fire %s", name, self.host, ", ".join(lost))

    def finish(self) -> None:
        """Training is over, and nothing failed."""
        lifespan, engine = self._lifespan, self.engine
        if lifespan is None or not lifespan.is_open:
            return
        try:
            if engine is None:
                lifespan.finish(lambda: _ended(self.run, self.host))
            else:
                lifespan.finish(lambda: engine.end(f"{self.host} ended training"))
        finally:
            self._release()

    def fail(self, error: BaseException) -> None:
        """An error ends training; callbacks hear of it, and are closed."""
        if self._lifespan is not None and self._lifespan.is_open:
            try:
                self._lifespan.fail(error)
            finally:
                self._release()

    def close(self) -> None:
        """Close what is open: the trainer has not said how its training ended."""
        if self.is_open:
            self.fail(UsageError(f"{self.host} has not said how its training ended"))

    def _release(self) -> None:
        atexit.unregister(self.close)
        if self.evaluation is not None:
            self.evaluation.abandon()
            self.evaluation = None
        if self.engine is not None:
            self.engine.release()
            self.engine = None
        self._folder.release()

    @property
    def stopping(self) -> bool:
        """Whether a callback has asked for the end, and the trainer should stop."""
        return self.is_open and self.run.requests.stop is not None

    # --- what a trainer says -------------------------------------------------------------------

    def epoch_start(self) -> None:
        """An epoch begins; the one before is over, with its evaluations."""
        engine = self._engine
        engine.end_epoch(goes_on=True)
        engine.open_epoch()
        engine.begin_pass()
        engine.foreign_batches()

    def batch_start(self, batch: Any, number: int, samples: int | None = None) -> None:
        """A batch begins, and a step where none is under way.

        Raises:
            UsageError: A callback puts another batch in its place, which the trainer can't take.
        """
        replaced = self._engine.begin_batch(LoadedBatch(batch, Origin(number, samples)))
        if replaced is not batch:
            raise UsageError(f"a callback replaces the batch, and {self.host} can't take another")

    def step_end(self, returned: Any = None) -> None:
        """A step is over: count it, and do what is due."""
        self._engine.end_step(returned)
        self._after_safe_point()

    def pass_end(self) -> None:
        """The training of the epoch is over; evaluations may follow."""
        self._engine.end_pass(complete=True)

    def epoch_end(self) -> None:
        """The epoch is over."""
        self._engine.end_epoch(goes_on=True)
        self._after_safe_point()

    def record(self, values: Mapping[str, float]) -> None:
        """Record values of the trainer by full name."""
        record(self._engine.training, values)

    def evaluation_start(self, name: str = "val") -> None:
        """An evaluation begins."""
        self.evaluation = GuestEvaluation(self._engine.training, name)
        self.evaluation.begin()

    def evaluation_end(self, metrics: Mapping[str, Any]) -> None:
        """An evaluation is over; `metrics` are the trainer's, by its own names."""
        evaluation, self.evaluation = self.evaluation, None
        if evaluation is not None:
            evaluation.end(metrics)
            if not self._engine.in_a_step:
                self._after_safe_point()

    @property
    def _engine(self) -> Engine:
        if self.engine is None:
            raise UsageError(f"{self.host} has not said that training begins")
        return self.engine

    def _after_safe_point(self) -> None:
        asked = self.run.requests.going_back
        if asked:
            raise UsageError(
                f"{asked[0].who!r} asks to go back to a checkpoint, and {self.host} can't",
                remedy="choose another policy, such as stop",
            )
        if self._engine.training.position.ends_epoch:
            raise UsageError(
                f"{self.run.ended_epochs[-1].asked_by!r} asks for the end of the epoch, and the "
                f"data is {self.host}'s",
                remedy="`run.stop(reason)` ends training",
            )


OF_TRAINING = frozenset(
    name
    for name in HOOKS
    if re.search("_(batch|backward|zero_grad|optimizer_step|step)_", name)
    and not name.startswith("on_predict_")
)
"""Hooks that not every trainer can fire."""


_LATER = {"on_optimizer_step_start"}
"""A hook at which a callback may find what the backward pass has made."""


class _Elsewhere:
    """Stands for data that only its trainer passes over."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __iter__(self) -> Iterator[Any]:
        raise UsageError(f"the training data is passed over by {self._host} alone")


class _Counted(_Elsewhere):
    """The same, where the trainer says how many batches there are."""

    def __init__(self, host: str, batches: int) -> None:
        super().__init__(host)
        self._batches = batches

    def __len__(self) -> int:
        return self._batches


def _ended(run: Run, host: str) -> Outcome:
    return Outcome(Status.COMPLETED, f"{host} ended training", step=run.progress.steps_completed)
