"""Run: what a callback may read, and what it may ask for.

A run is one `fit`, `evaluate` or `predict`, from attach to close. Callbacks see this object and
nothing above it: they read freely, may change model and optimizer, and ask for everything else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol

from trackside.errors import UnknownDataError, UsageError, WrongTimeError
from trackside.history import History
from trackside.later import known_from
from trackside.outcome import Outcome
from trackside.progress import EndedEpoch, Halving, Progress, RunLimit, SkippedStep, TrainingBatch
from trackside.progress import Evaluation as Evaluation
from trackside.progress import Rollback as Rollback
from trackside.requests import Kind, Request, Requests
from trackside.vocabulary.renamed import refuses_old_names

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from trackside.checkpoint.saver import Saver
    from trackside.distributed.world import World
    from trackside.lifecycle.collection import CallbackCollection
    from trackside.step.optimization import Scheduling
    from trackside.step.output import Steps
    from trackside.step.precision import Precision

P = ParamSpec("P")
Mode = Literal["fit", "evaluate", "predict"]


class Log(Protocol):
    """The log of values (`step/metrics.py` keeps them on the device)."""

    def log(self, name: str, value: Tensor | float, weight: float) -> None:
        """Add `value` with `weight` to the mean kept under `name`, unless the loop records that."""


class Events(Protocol):
    """The dispatcher: fires events and knows the current callback (`lifecycle/dispatch.py`)."""

    @property
    def current_callback(self) -> str | None:
        """Name of the callback whose hook is being called now."""

    def seconds_by_callback(self) -> dict[str, float]:
        """Seconds spent in each callback so far, by name, the costliest first."""

    def fire(
        self, hook: Callable[Concatenate[Any, Run, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call all listeners of `hook`."""


@refuses_old_names
class Run:
    """One run, as callbacks see it.

    Subclass it to give callbacks more to read, and set the trainer's `run_class`; a callback typed
    `Callback[MyRun]` is refused elsewhere.
    """

    mode: Mode
    """`fit`, `evaluate` or `predict`."""
    model: nn.Module = known_from("on_configure_end")
    """The model; with several, the one named `model`, else the first."""
    optimizers: Mapping[str, Optimizer] = known_from("on_optimizers_ready")
    """All optimizers by name; a single one is called `optimizer`. Empty outside of `fit`."""
    schedulings: Mapping[str, Scheduling] = known_from("on_setup_end")
    """When each of the trainer's schedulers moves, by name of its optimizer."""
    data: Mapping[str, Any] = known_from("on_configure_end")
    """Named data: `train`, and every set that can be evaluated."""
    device: torch.device = known_from("on_attach")
    steps: Steps = known_from("on_setup_start")
    """Steps of a batch: the trainer's `training_step`, `predict_step`, `backward`, ..."""
    precision: Precision = known_from("on_setup_start")
    """Number formats: the one that passes over a model are cast to, and the loss scaler."""
    world: World = known_from("on_attach")
    """Ranks and collectives; a world of one process has size 1."""
    callbacks: CallbackCollection = known_from("on_attach")
    _models: Mapping[str, nn.Module] = known_from("on_configure_end", "models")
    metric_log: Log = known_from("on_setup_end")
    """Where logged values go; `run.log` adds to it."""
    directory: Path
    """The run's folder. It may not exist yet: the first file that is written makes it."""
    config: Mapping[str, Any]
    """Settings and configuration of the run, as plain values, for loggers."""

    def __init__(
        self,
        mode: Mode,
        directory: Path | str = ".",
        *,
        events: Callable[[Run], Events] | None = None,
    ) -> None:
        """See the class.

        Args:
            mode: `fit`, `evaluate` or `predict`.
            directory: The run's folder.
            events: Makes the dispatcher of this run; None: no callback is called.
        """
        self.mode = mode
        self.directory = Path(directory)
        self.id = secrets.token_hex(8)
        """Identifier, kept over resumes; two runs in one folder have different ones."""
        self.resumed_from: Path | None = None
        """The checkpoint from which the run was resumed; None: it began from the start."""
        self.taken_back = False
        """Whether the resume named an earlier checkpoint than the newest: steps may differ now."""
        self.progress = Progress()
        self.limit = RunLimit()
        self.history = self.make_history()
        self.config = {}
        self.requests = Requests()
        """Requests that are not taken yet."""
        self.rollbacks: list[Rollback] = []
        """Returns to a checkpoint in the middle of the run, over all resumes, the oldest first."""
        self.skipped_steps: list[SkippedStep] = []
        """Updates that were not made, over all resumes, the oldest first."""
        self.ended_epochs: list[EndedEpoch] = []
        """Epochs that were ended on request, over all resumes, the oldest first."""
        self.halvings: list[Halving] = []
        """Steps from which on batches go through the model in smaller parts, over all resumes."""
        self.evaluation: Evaluation | None = None
        """The evaluation under way, if there is one."""
        self.outcome: Outcome | None = None
        """The outcome of the run; None while it goes on."""
        self.accumulate = 1
        """Batches per step; a callback may change it between steps."""
        self.batch_samples: float = 0.0
        """Samples of the batch under way; nan while only its step can count them."""
        self.output: Any = None
        """Output of `training_step`, from `on_backward_start` to `on_backward_end`."""
        self.data_wait_seconds: float = 0.0
        """Time spent waiting for training batches so far in this process."""
        self.compile_seconds = 0.0
        """Time spent compiling steps so far in this process."""
        self.compilations = 0
        """Compilations of parts of steps in this process: one for each form of a batch."""
        self.saver: Saver | None = None
        """The callback that writes checkpoints; None where nothing is saved."""
        self._discards = False
        self._events: Events | None = None if events is None else events(self)

    def __repr__(self) -> str:
        ended = f"; {self.outcome}" if self.outcome is not None else ""
        steps = self.progress.steps_completed
        return f"<Run: {self.mode} in {str(self.directory)!r}, {steps} steps completed{ended}>"

    def make_history(self) -> History:
        """The store of its records: a subclass may take another, or `PrefixedHistory`."""
        return History()

    # --- reading -------------------------------------------------------------------------------

    @property
    def models(self) -> Mapping[str, nn.Module]:
        """All models by name; a single one is called `model`."""
        return self._models

    @models.setter
    def models(self, models: Mapping[str, nn.Module]) -> None:
        self._models = models
        if models:
            self.model = models["model"] if "model" in models else next(iter(models.values()))

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; with several, the first.

        Raises:
            UsageError: The run doesn't train.
        """
        if not self.optimizers:
            raise UsageError(
                f"a run of mode {self.mode!r} has no optimizer", expected="a `fit` with one"
            )
        return next(iter(self.optimizers.values()))

    @property
    def step_was_skipped(self) -> bool:
        """Whether the last step made no update, as far as the host knows at once."""
        last = self.skipped_steps[-1:]
        return bool(last) and last[0].step == self.progress.steps_completed

    @property
    def updates_completed(self) -> int:
        """Steps that made their update, as far as the host knows: without `skipped_steps`."""
        return self.progress.steps_completed - len({one.step for one in self.skipped_steps})

    @property
    def schedulers(self) -> dict[str, Any]:
        """All learning-rate schedulers of the trainer, by name of their optimizer."""
        return {name: scheduling.scheduler for name, scheduling in self.schedulings.items()}

    @property
    def parameter_groups(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and groups of all optimizers: `0`, `1`, ... or, with several, `generator/0`."""
        several = len(self.optimizers) > 1
        for name, optimizer in self.optimizers.items():
            for index, group in enumerate(optimizer.param_groups):
                yield (f"{name}/{index}" if several else str(index)), group

    @property
    def current_callback(self) -> str | None:
        """Name of the callback whose hook is being called now; None where the loop is at work."""
        return self._events.current_callback if self._events is not None else None

    @property
    def callback_seconds(self) -> dict[str, float]:
        """Seconds spent in each callback so far, by name, the costliest first."""
        return self._events.seconds_by_callback() if self._events is not None else {}

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested, on this rank or, once agreed on, on another."""
        return self.requests.stopping

    @property
    def stop_request(self) -> Request | None:
        """The request that ends the run, once all ranks agreed and it was taken."""
        return self.requests.stop

    @property
    def interrupted(self) -> bool:
        """Whether a person or the cluster ends the run: by Ctrl-C, or SIGTERM."""
        return self.stop_request is not None and self.stop_request.signal is not None

    # --- asking --------------------------------------------------------------------------------

    def stop(
        self,
        reason: str,
        *,
        asked_by: str | None = None,
        signal: int | None = None,
        diverged: bool = False,
    ) -> None:
        """Ask for the end of training at the next safe point.

        Args:
            reason: Why; the outcome keeps it.
            asked_by: Who asks; None takes the callback whose hook is being called.
            signal: Number of the signal behind it: the run is then interrupted.
            diverged: The numbers of the run went wrong: it has then diverged, with exit code 3.
        """
        self._ask("stop", reason, asked_by, signal=signal, diverged=diverged)

    def save(
        self, reason: str = "requested", *, asked_by: str | None = None, all_ranks: bool = False
    ) -> None:
        """Ask for a checkpoint at the next safe point.

        Args:
            reason: Why; the checkpoint's manifest keeps it.
            asked_by: Who asks; None takes the callback whose hook is being called.
            all_ranks: Whether all ranks ask for it at this same step, because nothing but
                progress decides. It is then saved at the end of this step; otherwise, on several
                ranks, some steps later, when all have heard of it.
        """
        self._ask("save", reason, asked_by, all_ranks=all_ranks)

    def evaluate(
        self,
        name: str,
        reason: str = "requested",
        *,
        asked_by: str | None = None,
        all_ranks: bool = False,
    ) -> None:
        """Ask for an evaluation of `run.data[name]` at the next safe point, once at each step.

        Args:
            name: Which data.
            reason: Why.
            asked_by: Who; None takes the callback whose hook is being called.
            all_ranks: Whether all ranks ask for it at this same step; see `save`.

        Raises:
            UnknownDataError: There is no data of that name.
        """
        if name not in self.data:
            raise UnknownDataError.among(self.data, name, "to evaluate")
        self._ask("evaluate", reason, asked_by, name=name, all_ranks=all_ranks)

    def skip_step(self, reason: str, *, asked_by: str | None = None) -> None:
        """Ask to drop the gradients of the step under way instead of applying them.

        Counts until just before the update: in `on_batch_end`, `on_backward_end` and
        `on_optimizer_step_start`. The step is counted all the same.
        """
        self._ask("skip_step", reason, asked_by)

    def end_epoch(
        self, reason: str, *, asked_by: str | None = None, all_ranks: bool = False
    ) -> None:
        """Ask for the end of the epoch after the step under way: the rest of it is left out.

        The step is finished first, with all batches that it accumulates. Then the epoch ends as one
        whose data is over: evaluations and checkpoints that are due, then the next epoch begins.
        Asked where no step of an epoch is to come, such as in the evaluation after it, there is
        nothing to leave out, which is warned of.

        Args:
            reason: Why; `run.ended_epochs` keeps it, and checkpoints do.
            asked_by: Who asks; None takes the callback whose hook is being called.
            all_ranks: Whether all ranks ask for it at this same step; see `save`.
        """
        self._ask("end_epoch", reason, asked_by, all_ranks=all_ranks)

    def roll_back(
        self,
        reason: str,
        *,
        leave_out: Iterable[TrainingBatch] = (),
        asked_by: str | None = None,
    ) -> None:
        """Ask to return to the newest checkpoint at the next safe point, and to go on from there.

        Everything is then as a resume would find it: weights, optimizers, schedulers, generators,
        counters, records, callbacks, the position in the data. What is asked for at the same point
        is dropped with the steps it was asked in, except a stop, or what a signal asks for. Asked
        in `on_checkpoint_save`, that checkpoint is not written.

        Args:
            reason: Why.
            leave_out: Batches that are not trained on when they come again; `run.rollbacks` keeps
                them, and checkpoints do. Without any, the same steps are taken again.
            asked_by: Who asks; None takes the callback whose hook is being called.
        """
        self._ask("roll_back", reason, asked_by, leave_out=tuple(leave_out))

    def _ask(self, kind: Kind, reason: str, asked_by: str | None, **details: Any) -> None:
        who, step = asked_by or self.current_callback or "trainer", self.progress.steps_completed
        self.requests.ask(Request(kind, reason, who, step=step, **details))

    @contextmanager
    def discarding(self) -> Iterator[None]:
        """Drop what is logged or asked for inside: for steps that don't count.

        A signal that comes meanwhile is meant for the run, and is kept.
        """
        outer, samples = self._discards, self.batch_samples
        self._discards = True
        try:
            with self.requests.discarding():
                yield
        finally:
            self._discards, self.batch_samples = outer, samples

    # --- logging and events --------------------------------------------------------------------

    def log(self, name: str, value: Tensor | float, weight: float | None = None) -> None:
        """Log a value; the next record holds the mean of the values logged since the last one.

        Args:
            name: `train/accuracy`, `lr/0`. A name without a slash gets that of the data in hand:
                `train/`, or the evaluation's.
            value: A number, or a tensor of one element, which stays on its device until then.
            weight: Weight in the mean; None takes the samples of the batch in hand, or 1 outside.

        Raises:
            UsageError: The loop records that name itself, such as `train/loss`.
        """
        if self._discards:
            return
        if "metric_log" not in vars(self):
            raise WrongTimeError(
                f"{name!r} was logged before training starts",
                expected="`run.log` from `on_fit_start` on",
                remedy="log it in `on_fit_start` or in a later hook",
            )
        if "/" not in name:
            name = f"{self.evaluation.name if self.evaluation else 'train'}/{name}"
        if weight is None:
            weight = self.batch_samples or 1.0
        self.metric_log.log(name, value, weight)

    def emit(
        self, event: Callable[Concatenate[Any, Any, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Fire a custom event: every callback that has a method of its name is called."""
        if self._events is None:
            raise WrongTimeError(
                f"nobody hears `{event.__name__}`: this run was not started by a trainer",
                expected="`run.emit` between `on_attach` and `on_close`",
            )
        self._events.fire(event, *args, **kwargs)
