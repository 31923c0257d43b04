"""`attach`: the engine around a loop that its author keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.by_hand import assembling
from trackside.by_hand.engine import Engine
from trackside.by_hand.evaluations import HandEvaluation
from trackside.by_hand.led import LedRun
from trackside.by_hand.lifespan import Lifespan
from trackside.by_hand.steps import HandSteps
from trackside.errors import UsageError, WrongTimeError
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.signals import StopOnSignals, ending
from trackside.loop import resume as resuming
from trackside.loop.state import Training
from trackside.outcome import Outcome, Status
from trackside.planning import checks
from trackside.progress import counted
from trackside.run import Run
from trackside.run_folder.of_run import RunFolder
from trackside.schedule import Schedule


class AttachedRun(LedRun):
    """A run whose loop is written by hand: it gives epochs and batches, and hears of steps."""

    engine: Engine
    """The engine; there from the call of `epochs` on."""

    def _prepare(self, epochs: int | None, steps: int | None) -> Engine:
        raise NotImplementedError

    def epochs(self, epochs: int | None = None, *, steps: int | None = None) -> Iterator[int]:
        """The epochs that are still to come, by number from 0; the first may be a resumed one.

        Prepares the run first: the checkpoint is loaded, what can't work is refused.

        Args:
            epochs: Passes over the training data, over all resumes.
            steps: Updates, over all resumes.

        Raises:
            UsageError: No limit, or called a second time.
        """
        return _Epochs(self._prepare(epochs, steps))

    def batches(self) -> Iterator[Any]:
        """The batches of this epoch that are still to come, as the loader gives them."""
        engine = self._engine("batches")
        engine.begin_pass()
        engine.own_batches()
        return _Batches(engine)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, and let callbacks hear of it: for `loss.backward()`."""
        self._engine("backward").backward(loss)

    def zero_grad(self) -> None:
        """Drop all gradients, and let callbacks hear of it: for `optimizer.zero_grad()`."""
        self._engine("zero_grad").zero_grad()

    def batch_done(self, loss: Any) -> None:
        """Report that a batch went forward and backward, where several make a step.

        Args:
            loss: The mean loss over its samples, or an `Output`; None where it was left out.
        """
        self._engine("batch_done").end_batch(loss)

    def step_done(self, loss: Any = None) -> None:
        """Report that the update is made. What is due or was asked for is done here.

        Args:
            loss: The mean loss of the last batch, or an `Output`; not needed where `batch_done`
                was called for it.
        """
        self._engine("step_done").end_step(loss)

    def evaluating(self, name: str) -> HandEvaluation:
        """A block in which the loop evaluates: callbacks hear of it, and its means are recorded.

        Args:
            name: Of the data, such as `val`: its loss is then `val/loss`.

        Example:
            >>> with run.evaluating("val") as evaluation:
            ...     for inputs, target in evaluation.batches(loader):
            ...         evaluation.batch_done(loss_of(model(inputs), target))
        """
        checks.check_name(name)
        return HandEvaluation(self._engine("evaluating").training, name)

    def _engine(self, what: str) -> Engine:
        if "engine" not in vars(self):
            raise WrongTimeError(
                f"`run.{what}` was called before `run.epochs`",
                expected="inside `for epoch in run.epochs(...)`",
            )
        return self.engine


class _Epochs(Iterator[int]):
    """A class and no generator: it must not end when the loop is left, but when the run does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __next__(self) -> int:
        number = self._engine.begin_epoch()
        if number is None:
            raise StopIteration
        return number


class _Batches(Iterator[Any]):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __next__(self) -> Any:
        return self._engine.next_batch()


class _OwnRun(AttachedRun):
    """The run of one `Attachment`, which prepares it."""

    def __init__(self, attachment: Attachment, directory: Path) -> None:
        super().__init__("fit", directory, events=attachment._make_events)
        self._attachment = attachment

    def _prepare(self, epochs: int | None, steps: int | None) -> Engine:
        return self._attachment.prepare(epochs, steps)


class Attachment(AbstractContextManager[AttachedRun]):
    """The run of a loop by hand, from `with` to the end of its block; see `attach`."""

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        loader: Any,
        callbacks: Iterable[Any] | Mapping[str, Any],
        steps: HandSteps,
        directory: str | Path | None,
        resume: resuming.Resume,
        log_every: Schedule | str,
    ) -> None:
        """See `attach`."""
        self._models, self._optimizers, self._loader = models, optimizers, loader
        self._steps, self._resume, self._log_every = steps, resume, log_every
        self._is_new = directory is None
        self._folder = RunFolder()
        self._given = callbacks
        self._engine: Engine | None = None
        self._training: Training | None = None
        self.run = _OwnRun(self, assembling.directory_of(directory))
        self.run.config = {"log_every": str(log_every), "accumulate": 1, "precision": "fp32"}
        self._lifespan = Lifespan(self.run, self._events, StopOnSignals(self.run, self._events))

    def _make_events(self, run: Run) -> Dispatcher:
        self._events = assembling.start(run, self._models, self._given)
        return self._events

    def __enter__(self) -> AttachedRun:
        if self.run.outcome is not None or self._lifespan.is_open:
            raise UsageError("an attachment is one run", remedy="call `trackside.attach` again")
        self._lifespan.begin()
        return self.run

    def prepare(self, epochs: int | None, steps: int | None) -> Engine:
        """Set the run up, load its checkpoint, and begin training; see `AttachedRun.epochs`."""
        if not self._lifespan.is_open or self._engine is not None:
            raise UsageError(
                "`run.epochs` is called once, inside the `with` block",
                remedy="give the number of all epochs, and branch in the loop: `if epoch < 5`",
            )
        if epochs is None and steps is None:
            raise UsageError("`run.epochs` has no limit", remedy="for example `run.epochs(10)`")
        run = self.run
        run.limit = checks.limit(epochs, steps)
        self._training = training = assembling.assemble(
            run,
            self._events,
            self._models,
            self._optimizers,
            self._loader,
            self._steps,
            self._log_every,
        )
        self._folder.take(run, is_new=self._is_new)
        resuming.resume(training, self._resume, is_new_directory=self._is_new)
        self._folder.sign(run)
        training.fire(Callback.on_setup_end)
        checks.check_passes(training.setup)
        checks.report(training.setup)
        self._engine = run.engine = Engine(training)
        self._engine.begin()
        return self._engine

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._lifespan.finish(self._end)
            elif (first := self._lifespan.fail(error)) is not error:
                raise first
        finally:
            self._release()
        number = None if self._lifespan.signals is None else self._lifespan.signals.number
        if number is not None and error is None:
            raise ending(number)

    def _end(self) -> Outcome:
        run, steps = self.run, self.run.progress.steps_completed
        if self._engine is None:
            return Outcome(Status.COMPLETED, "the loop was not begun")
        reached = run.limit.reached(run.progress)
        words = f"the loop was left after {counted(steps, 'step')}"
        if reached and run.limit.epochs is not None:
            words = f"reached epochs={run.limit.epochs}"
        if reached and run.limit.steps is not None and steps >= run.limit.steps:
            words = f"reached steps={run.limit.steps}"
        return self._engine.end(words)

    def _release(self) -> None:
        if self._engine is not None:
            self._engine.release()
        for source in vars(self.run).get("data", {}).values():
            source.workers.end()
        self._folder.release()


def attach(
    *,
    model: nn.Module | Mapping[str, nn.Module],
    optimizers: Optimizer | Mapping[str, Optimizer],
    loader: Any,
    callbacks: Iterable[Any] | Mapping[str, Any] = (),
    state: Mapping[str, Any] | None = None,
    directory: str | Path | None = None,
    resume: resuming.Resume = None,
    log_every: Schedule | str = "50 steps",
) -> Attachment:
    """A run around a loop that you write: callbacks, records, signals, checkpoints, exact resume.

    The loop computes what it computes without it: nothing is moved, seeded, or put into another
    mode, and the weights are bitwise the same.

    Args:
        model: The model, or several by name.
        optimizers: Its optimizer, or several by name.
        loader: A `DataLoader`, or any iterable of batches; `run.batches()` passes over it.
        callbacks: A list, or a mapping by name; there are no default ones.
        state: What else a resume needs, by name: schedulers, a loss scaler, averages of your own;
            anything with `state_dict` and `load_state_dict`, or a `torch.Generator`.
        directory: The run's folder; None makes a new one under `runs/`.
        resume: Go on from a checkpoint: `auto` takes the newest that is whole, and starts fresh
            where there is none; None starts fresh. See `Trainer.fit`.
        log_every: How often values are brought to the host and recorded.

    Returns:
        To be used with `with`; its block gets the run.

    Raises:
        UsageError: A part is of the wrong kind, or the process is one of several.
        RegistrationError: A callback can't join.

    Example:
        >>> with trackside.attach(model=model, optimizers=optimizer, loader=loader) as run:
        ...     for epoch in run.epochs(10):
        ...         for inputs, target in run.batches():
        ...             loss = loss_of(model(inputs), target)
        ...             loss.backward()
        ...             optimizer.step()
        ...             optimizer.zero_grad()
        ...             run.step_done(loss)
    """
    assembling.refuse_several_ranks()
    return Attachment(
        assembling.by_name(model, nn.Module, "model", "model"),
        assembling.by_name(optimizers, Optimizer, "optimizer", "optimizers"),
        loader,
        callbacks,
        HandSteps(state or {}),
        directory,
        resume,
        log_every,
    )
