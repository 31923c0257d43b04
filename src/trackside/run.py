"""Run: what a callback may read, and what it may ask for.

A run is one `fit`, `evaluate` or `predict`, from attach to close. Callbacks see this object and
nothing above it: they read freely, may change model and optimizer, and ask for everything else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol

from trackside.history import History
from trackside.outcome import Outcome
from trackside.progress import Progress, RunLimit
from trackside.progress import TrainingBatch as TrainingBatch
from trackside.progress import training_batches as training_batches
from trackside.renamed import refuses_old_names

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from trackside.distributed.world import World
    from trackside.lifecycle.collection import CallbackCollection
    from trackside.step.output import Steps
    from trackside.step.precision import Precision

P = ParamSpec("P")
Mode = Literal["fit", "evaluate", "predict"]
Kind = Literal["stop", "save", "evaluate", "skip_step", "roll_back", "settle"]


@dataclass(frozen=True, slots=True)
class Rollback:
    """One return to a checkpoint in the middle of a run."""

    from_step: int
    """Steps completed before."""
    to_step: int
    """Steps completed at the checkpoint."""
    reason: str
    asked_by: str
    left_out: tuple[TrainingBatch, ...] = ()
    """Batches that are not trained on when they come again."""


@dataclass(frozen=True, slots=True)
class Request:
    """Something asked for, with who asked and why; taken at the next safe point."""

    kind: Kind
    reason: str
    asked_by: str
    name: str = ""
    """Name of the data set, for `evaluate`."""
    signal: int | None = None
    """Number of the signal behind a stop."""
    diverged: bool = False
    """Whether a stop is for numbers that went wrong."""
    leave_out: tuple[TrainingBatch, ...] = ()
    """Batches that shall not come again, for `roll_back`."""
    all_ranks: bool = False
    """Whether all ranks ask for it at this very step: it is taken here, and not a little later."""


@dataclass(slots=True)
class Evaluation:
    """One pass over a named data set without gradients."""

    name: str
    """Which data: `val`, `test`, or any key of `run.data`."""
    batches: int | None = None
    """Batches of this rank in the pass, when the data tells its length."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Final values by full name (`val/loss`), over all ranks; filled before `on_evaluation_end`."""
    results: dict[str, Any] = field(default_factory=dict)
    """Metrics that aren't single numbers (a confusion matrix, say), by full name."""
    batches_completed: int = 0
    samples_completed: int = 0
    average: str | bool | None = None
    """Whose averages of the weights it uses, by name of their callback; False: none. None leaves it
    to callbacks that keep averages."""
    exits: ExitStack = field(default_factory=ExitStack)
    """Left when the pass ends, however it ends: `evaluation.exits.callback(put_back)`."""


class Log(Protocol):
    """Where logged values go (`metrics.py` keeps them on the device)."""

    def add(self, name: str, value: Tensor | float, weight: float) -> None:
        """Add `value` with `weight` to the mean kept under `name`."""


class _Nowhere:
    """Where values go that shall not be recorded."""

    def add(self, name: str, value: Tensor | float, weight: float) -> None:
        """Drop the value."""


class Saver(Protocol):
    """Who writes checkpoints; the callback `Checkpoint` puts itself there."""

    needs_attention: bool
    """Set when a checkpoint has become whole, or has failed, since the last `settle`."""
    save_on_failure: bool
    """Whether to save when an evaluation fails, before its error ends the run."""

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written in the background."""

    def root(self, run: Run) -> Path:
        """The folder that holds the run's checkpoints."""

    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """See before the first step that a state like this can be saved."""

    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        """Take a copy of the state and have it written."""

    def settle(self, run: Run) -> None:
        """Announce checkpoints that have become whole; raise what went wrong in the background."""

    def wait(self, run: Run) -> None:
        """Wait for the checkpoint that is being written, and settle."""


class Events(Protocol):
    """What fires events and knows who is being called (`dispatch.py`)."""

    @property
    def current_callback(self) -> str | None:
        """Name of the callback whose hook is being called now."""

    def shares(self) -> dict[str, float]:
        """Seconds spent in each callback so far, by name, the costliest first."""

    def fire(
        self, hook: Callable[Concatenate[Any, Run, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call everybody who listens to `hook`."""


@refuses_old_names
class Run:
    """One run, as callbacks see it.

    Subclass it to give callbacks more to read, and set the trainer's `run_class`; a callback typed
    `Callback[MyRun]` is refused elsewhere.
    """

    mode: Mode
    """`fit`, `evaluate` or `predict`."""
    model: nn.Module
    """The model; with several, the one named `model`, else the first."""
    optimizers: Mapping[str, Optimizer]
    """All optimizers by name; a single one is called `optimizer`."""
    schedulers: Mapping[str, Any]
    """All learning-rate schedulers by name of their optimizer."""
    data: Mapping[str, Any]
    """Named data: `train`, and every set that can be evaluated."""
    device: torch.device
    steps: Steps
    """What is done with a batch: the trainer's `training_step`, `predict_step`, `backward`, ..."""
    precision: Precision
    """Number formats: what passes over a model are cast to, and the scaler of the loss."""
    world: World
    """Ranks and collectives; a world of one process has size 1."""
    callbacks: CallbackCollection
    directory: Path
    """The run's folder. It may not exist yet: whoever writes first makes it."""
    config: Mapping[str, Any]
    """Settings and configuration of the run, as plain values, for loggers."""

    def __init__(self, mode: Mode, directory: Path | str = ".") -> None:
        self.mode = mode
        self.directory = Path(directory)
        self.id = secrets.token_hex(8)
        """Of this run, kept over its resumes; two runs in one folder have different ones."""
        self.resumed_from: Path | None = None
        """The checkpoint that it goes on from."""
        self.progress = Progress()
        self.limit = RunLimit()
        self.history = History()
        self._models: Mapping[str, nn.Module] = {}
        self.optimizers = {}
        self.schedulers = {}
        self.data = {}
        self.config = {}
        self.requests: list[Request] = []
        """Asked for and not taken yet, oldest first."""
        self.stop_request: Request | None = None
        """The request that ends the run, once it is agreed."""
        self.rollbacks: list[Rollback] = []
        """How often the run went back to a checkpoint, over all its resumes, the oldest first."""
        self.evaluation: Evaluation | None = None
        """The evaluation under way, if there is one."""
        self.outcome: Outcome | None = None
        """How the run ended; None while it goes on."""
        self.accumulate = 1
        """Batches per step; a callback may change it between steps."""
        self.batch_samples: float = 0.0
        """Weight of the batch under way, in samples (or what the step returned as `weight`)."""
        self.output: Any = None
        """What `training_step` returned, from `on_backward_start` to `on_backward_end`."""
        self.data_wait_seconds: float = 0.0
        """Time spent waiting for training batches so far in this process."""
        self.saver: Saver | None = None
        """Who writes checkpoints; None where nothing is saved."""
        self._events: Events | None = None
        self._log: Log | None = None

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
        """The optimizer; with several, the first."""
        return next(iter(self.optimizers.values()))

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
        return self._events.shares() if self._events is not None else {}

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked for the end."""
        return any(request.kind == "stop" for request in self.requests)

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
        who = self._who(asked_by)
        self._ask(Request("stop", reason, who, signal=signal, diverged=diverged))

    def save(
        self,
        reason: str = "requested",
        *,
        asked_by: str | None = None,
        all_ranks: bool = False,
    ) -> None:
        """Ask for a checkpoint at the next safe point.

        Args:
            reason: Why; the checkpoint's manifest keeps it.
            asked_by: Who asks; None takes the callback whose hook is being called.
            all_ranks: Whether all ranks ask for it at this same step, because nothing but
                progress decides. It is then saved at the end of this step; otherwise, on several
                ranks, some steps later, when all have heard of it.
        """
        self._ask(Request("save", reason, self._who(asked_by), all_ranks=all_ranks))

    def evaluate(
        self,
        name: str,
        reason: str = "requested",
        *,
        asked_by: str | None = None,
        all_ranks: bool = False,
    ) -> None:
        """Ask for an evaluation of `run.data[name]` at the next safe point.

        Args:
            name: Which data.
            reason: Why.
            asked_by: Who; None takes the callback whose hook is being called.
            all_ranks: Whether all ranks ask for it at this same step; see `save`.

        Raises:
            KeyError: There is no data of that name.
        """
        if name not in self.data:
            raise KeyError(f"no data named {name!r}; there is " + (", ".join(self.data) or "none"))
        who = self._who(asked_by)
        self._ask(Request("evaluate", reason, who, name=name, all_ranks=all_ranks))

    def skip_step(self, reason: str, *, asked_by: str | None = None) -> None:
        """Ask to drop the gradients of the step under way instead of applying them.

        Counts until just before the update: in `on_batch_end`, `on_backward_end` and
        `on_optimizer_step_start`. The step is counted all the same.
        """
        self._ask(Request("skip_step", reason, self._who(asked_by)))

    def roll_back(
        self,
        reason: str,
        *,
        leave_out: Iterable[TrainingBatch] = (),
        asked_by: str | None = None,
    ) -> None:
        """Ask to go back to the newest checkpoint at the next safe point, and on from there.

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
        who = self._who(asked_by)
        self._ask(Request("roll_back", reason, who, leave_out=tuple(leave_out)))

    def _ask(self, request: Request) -> None:
        self.requests.append(request)

    def _who(self, asked_by: str | None) -> str:
        return asked_by or (self._events.current_callback if self._events else None) or "trainer"

    @contextmanager
    def discarding(self) -> Iterator[None]:
        """For steps that don't count: what is logged or asked for inside is dropped."""
        log, asked, samples = self._log, list(self.requests), self.batch_samples
        self._log = _Nowhere()
        try:
            yield
        finally:
            self._log, self.batch_samples = log, samples
            # A signal that came meanwhile is meant for the run.
            self.requests[:] = [r for r in self.requests if r in asked or r.asked_by == "signal"]

    # --- saying --------------------------------------------------------------------------------

    def log(self, name: str, value: Tensor | float, weight: float | None = None) -> None:
        """Log a value; the mean over what was logged until the next record is recorded.

        Args:
            name: `train/accuracy`, `lr/0`. A name without a slash gets that of the data in hand:
                `train/`, or the evaluation's.
            value: A number, or a tensor of one element, which stays on its device until then.
            weight: Weight in the mean; None takes the samples of the batch in hand, or 1 outside.
        """
        if "/" not in name:
            name = f"{self.evaluation.name if self.evaluation else 'train'}/{name}"
        if self._log is None:
            raise RuntimeError("values can be logged from `on_fit_start` on, not before")
        if weight is None:
            weight = self.batch_samples or 1.0
        self._log.add(name, value, weight)

    def emit(
        self, event: Callable[Concatenate[Any, Any, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Fire a custom event: every callback that has a method of its name is called."""
        if self._events is None:
            raise RuntimeError("events can be fired between `on_attach` and `on_close` only")
        self._events.fire(event, *args, **kwargs)
