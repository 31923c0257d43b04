"""State of the training loop: what is fixed for the run, its position, who listens."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from torch import nn
from torch.optim import Optimizer

from trackside.data.loaded import LoadedBatch
from trackside.data.source import DataSource
from trackside.distributed.agreement import Agreement
from trackside.distributed.replicas import Replicas
from trackside.distributed.sharding import Share
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.loop.following import Following
from trackside.loop.noting import Noting
from trackside.outcome import Outcome, Status, status_of_stop
from trackside.progress import EndedEpoch, Halving, SkippedStep, training_batches
from trackside.requests import Request
from trackside.run import Rollback, Run
from trackside.schedule import STEP_UNITS, Due, Every, Schedule
from trackside.step.mean_check import MeanCheck
from trackside.step.means import BLOCK
from trackside.step.metrics import Metric, MetricFunction, MetricLog
from trackside.step.optimization import Clip, Scheduling, drops_plainly
from trackside.step.output import Steps
from trackside.step.precision import Precision

if TYPE_CHECKING:
    from trackside.distributed.watch import FailureWatch

logger = logging.getLogger("trackside")
TRAIN = "train"
INSIDE = (
    Callback.on_batch_start,
    Callback.on_backward_start,
    Callback.on_backward_end,
    Callback.on_batch_end,
    Callback.on_optimizer_step_start,
    Callback.on_optimizer_step_end,
    Callback.on_zero_grad_start,
    Callback.on_zero_grad_end,
)
"""Hooks in the inside of a step: where one is heard, no captured step is taken."""
Phase = Literal["between", "training", "evaluating"]


class Ended(enum.Enum):
    """The ways in which an epoch, its training or an evaluation ends."""

    DATA = "data"
    """The data came to its end: the epoch is complete."""
    LIMIT = "limit"
    """The run has taken all its steps."""
    STOP = "stop"
    """A stop was agreed."""
    ROLLBACK = "rollback"
    """The run goes back to a checkpoint, and trains the epoch again from there."""
    OPEN = "open"
    """Evaluations of the epoch come after a resume or a rollback, and its end comes with them."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the loop."""

    clip: Clip | None = None
    log_every: Schedule = field(default_factory=lambda: Every(steps=50))
    evaluate_every: Schedule = field(default_factory=lambda: Every(epochs=1))
    evaluations: tuple[str, ...] = ()
    """Names of the data sets evaluated on that schedule, and at the end."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Setup:
    """The parts of a run that are fixed once it is set up."""

    run: Run
    events: Dispatcher
    steps: Steps
    precision: Precision
    sources: Mapping[str, DataSource]
    metrics: Mapping[str, Metric]
    functions: Mapping[str, MetricFunction]
    """Metrics that are plain functions, by name."""
    options: Options
    log: MetricLog
    record_loss: Callable[[Any], None]
    """Keeps a pair of loss and weight of a training batch, for its mean."""
    agreement: Agreement
    optimizers: tuple[Optimizer, ...]
    schedulings: tuple[Scheduling, ...]
    training_step: Callable[[Any, Any], Any]
    loss: nn.Module | None = None
    """The loss, where it is a module: it may have buffers and parameters."""
    replicas: Replicas | None = None
    """The models spread over ranks; None in one process."""
    watch: FailureWatch | None = None
    """Notices when another rank fails; None in one process."""
    prefetcher: Callable[[Iterator[LoadedBatch], DataSource], Iterator[LoadedBatch]] | None = None
    """Lets batches begin their way to the device before their turn; None: at their turn."""
    following: Following | None = None
    """Notes the steps after each checkpoint; None where nothing is compared after a resume."""
    noting: Noting | None = None
    """Notes what ranks compare; None in one process, and where nothing is to be compared."""
    uncounted: set[str] = field(default_factory=set)
    """Names of the data of which it was said that nobody can count its samples."""
    mean_check: MeanCheck = field(default_factory=MeanCheck)
    """Notices metrics that are functions and no means over samples."""

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The models and the loss by name: all whose modes and parameters the run looks after."""
        own = {} if self.loss is None else {"loss": self.loss}
        return {**own, **self.run.models}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Listeners:
    """The parts of a step that have listeners; the loop skips the calls of the others."""

    step_start: bool
    step_end: bool
    batch_start: bool
    batch_end: bool
    step_context: bool
    inside: bool
    """Whether a callback listens in the inside of a step, or stands around it."""
    several: bool
    """Whether models are spread over several ranks."""
    plain_forward: bool
    """Whether a batch goes into the step as it comes: in one process, on the host, and nobody
    replaces it."""
    plain_backward: bool
    """Whether the backward pass is torch's own, with nothing around it."""
    plain_update: bool
    """Whether the update is torch's own, with nothing around it."""
    record_loss: Callable[[Any], None]
    """Takes a pair of loss and weight of each batch."""
    may_skip: bool
    """Whether a callback may skip a step: several ranks then agree before each update."""

    @classmethod
    def of(cls, setup: Setup) -> Listeners:
        """The listeners among the present callbacks of a run."""
        heard, events, steps = setup.events.has_listeners, setup.events, setup.steps
        unscaled = setup.precision.scaler is None and not steps.manual_optimization
        following = setup.following if setup.following and setup.following.active else None
        skips = any(member.skips_steps for member in (steps, *setup.run.callbacks))
        return cls(
            step_start=heard(Callback.on_step_start),
            step_end=heard(Callback.on_step_end),
            batch_start=heard(Callback.on_batch_start),
            batch_end=heard(Callback.on_batch_end),
            step_context=bool(events.contexts["step_context"]),
            inside=bool(events.contexts["step_context"]) or heard(*INSIDE),
            several=setup.replicas is not None,
            record_loss=setup.record_loss if following is None else following.loss,
            plain_forward=setup.replicas is None
            and following is None
            and setup.run.device.type == "cpu"
            and not heard(Callback.on_batch_start),
            plain_backward=unscaled
            and hasattr(steps.backward, "default_step")
            and not heard(Callback.on_backward_start, Callback.on_backward_end),
            plain_update=unscaled
            and not (skips and setup.replicas is not None)
            and setup.options.clip is None
            and hasattr(steps.optimizer_step, "default_step")
            and all(map(drops_plainly, setup.optimizers))
            and not heard(
                Callback.on_optimizer_step_start,
                Callback.on_optimizer_step_end,
                Callback.on_zero_grad_start,
                Callback.on_zero_grad_end,
            ),
            may_skip=skips,
        )


class Schedules:
    """Schedules of records and evaluations, by the counters of a run."""

    def __init__(self, options: Options) -> None:
        self.log = Due(options.log_every, STEP_UNITS)
        self.evaluate_after_steps = Due(options.evaluate_every, STEP_UNITS)
        self.evaluate_after_epochs = Due(options.evaluate_every, {"epochs"})


class Position:
    """Position of the loop beyond `run.progress`; the first part is what a checkpoint holds."""

    def __init__(self, timer: Callable[[], float] = perf_counter) -> None:
        """See the class.

        Args:
            timer: Seconds since some moment; a script has its own.
        """
        self.timer = timer
        self.phase: Phase = "between"
        self.pending_evaluations: list[str] = []
        """Data sets whose evaluation is due and not done."""
        self.epoch_metrics: dict[str, float] = {}
        self.ends_epoch = False
        """Whether the epoch under way ends here, on request; nothing is saved until it has."""
        self.evaluated_at: dict[str, int] = {}
        """Steps completed at the last evaluation of each data set."""
        self.left_at: int | None = 0
        """Steps completed when an epoch's steps were last left, and what they had logged recorded.
        None where a checkpoint of before doesn't say."""
        self.built: dict[str, Any] = {}
        """Parts of the run, for a resume to compare: optimizers and data."""
        self.begun: tuple[int, int] = (0, 0)
        """Number of the first batch of a resumed epoch, and how many of its samples were done."""

        self.resumed_random_state: dict[str, Any] | None = None
        """Generators as they stood at the checkpoint, put back once the data is at its place."""
        self.share: Share[Any] | None = None
        """Share of the batch under way in the batch of all ranks; None in one process."""
        self.notified = False
        """Whether rank 0 has announced to all ranks that the last checkpoint is written."""
        self.clock_origin = timer()
        """When training would have begun, had it never been interrupted; by `timer`."""
        self.reported_unlogged: set[str] = set()
        """Data after whose first evaluation it was said which monitors nobody logs."""
        self.reported_untrained: set[str] = set()
        """Parameters of which it was said that no optimizer trains them."""
        self.warned_of_leftovers = False
        """Whether it was said that gradients from before an update by hand are dropped."""
        self.next_check_step: float = 0
        """The step after which something may be due."""

    def clock(self) -> float:
        """Seconds of training so far, over all resumes, by the clock of this rank."""
        return self.timer() - self.clock_origin


class Training:
    """A run under way: what is fixed, where it stands, who listens. Requests are the run's."""

    def __init__(self, setup: Setup, position: Position) -> None:
        self.setup = setup
        self.run = setup.run
        self.position = position
        self.schedules = Schedules(setup.options)
        self.listeners = Listeners.of(setup)
        self.take_step: Callable[[Training, LoadedBatch, Iterator[LoadedBatch]], None] | None = None
        """Takes a step in another way; None: as `train_step` does."""
        self.halves = False
        """Whether batches go through the model in parts where memory runs out."""
        setup.events.on_change = self.refresh_listeners

    def refresh_listeners(self) -> None:
        """See again who listens: a callback has joined or left."""
        self.listeners = Listeners.of(self.setup)

    def schedule_next_check(self) -> None:
        """Set the step after which the loop has to look whether something is due."""
        run, now = self.run, self.run.progress.steps_completed
        if self.setup.replicas is not None:  # ranks talk after every step
            self.position.next_check_step = now + 1
            return
        waiting = run.saver is not None and run.saver.needs_attention
        self.position.next_check_step = min(
            self.schedules.log.earliest_step(run.progress),
            self.schedules.evaluate_after_steps.earliest_step(run.progress),
            math.inf if run.limit.steps is None else run.limit.steps,
            now + (1 if waiting else BLOCK),
        )

    def due_evaluations(self) -> list[str]:
        """Data sets evaluated on schedule, without those that have seen the present weights."""
        return [name for name in self.setup.options.evaluations if self.wants_evaluation(name)]

    def wants_evaluation(self, name: str) -> bool:
        """Whether that data set has not seen the present weights, and isn't about to."""
        now, position = self.run.progress.steps_completed, self.position
        return position.evaluated_at.get(name) != now and name not in position.pending_evaluations

    def begin_schedules(self) -> None:
        """Advance the schedules to the restored counters."""
        run, schedules, progress = self.run, self.schedules, self.run.progress
        for due in (
            schedules.log,
            schedules.evaluate_after_steps,
            schedules.evaluate_after_epochs,
        ):
            due.start(progress, run.limit)
        if self.setup.noting is not None:
            self.setup.noting.start(progress)

    def state_dict(self) -> dict[str, Any]:
        """Return the position beyond the counters of `run.progress`."""
        position, run = self.position, self.run
        built = dict(position.built)
        if built:
            built["data"] = {**built["data"], "begun": list(position.begun)}
        return {
            "built": built or None,
            "phase": position.phase,
            "pending": list(position.pending_evaluations),
            "epoch_metrics": dict(position.epoch_metrics),
            "evaluated_at": dict(position.evaluated_at),
            "left_at": position.left_at,
            "rollbacks": [asdict(rollback) for rollback in run.rollbacks],
            "skipped_steps": [asdict(skipped) for skipped in run.skipped_steps],
            "ended_epochs": [asdict(ended) for ended in run.ended_epochs],
            "halvings": [asdict(halving) for halving in run.halvings],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` was taken. Evaluations of data that is gone are dropped."""
        position, run, sources = self.position, self.run, self.setup.sources
        position.phase = state["phase"]
        position.pending_evaluations = [name for name in state["pending"] if name in sources]
        position.epoch_metrics = dict(state["epoch_metrics"])
        position.evaluated_at = dict(state["evaluated_at"])
        position.left_at = state.get("left_at")
        kept = [_rollback(fields) for fields in state.get("rollbacks", ())]
        if len(kept) > len(run.rollbacks):  # going back forgets neither this nor former times
            run.rollbacks = kept
        # Those after the checkpoint are dropped with their steps. Older checkpoints have none.
        run.skipped_steps = [SkippedStep(**fields) for fields in state.get("skipped_steps", ())]
        run.ended_epochs = [EndedEpoch(**fields) for fields in state.get("ended_epochs", ())]
        position.ends_epoch = False
        halvings = [Halving(**fields) for fields in state.get("halvings", ())]
        if len(halvings) > len(run.halvings):  # memory is not more after a return to a checkpoint
            run.halvings = halvings
            self._tell_of_parts(halvings[-1])
        for rollback in kept:
            sources[TRAIN].leave_out(rollback.left_out)

    def _tell_of_parts(self, halving: Halving) -> None:
        if self.halves or not self.run.world.is_global_zero or self.run.mode != "fit":
            return
        logger.warning(
            "the run of this checkpoint took batches in parts of at most %d samples, and this one "
            "takes them whole: `Settings(halve_batches_to=1)` goes on in parts",
            halving.samples,
        )

    def fire(self, hook: Callable[..., Any], *args: Any) -> None:
        """Fire `hook` with the run and `args`."""
        self.setup.events.fire(hook, *args)

    def outcome(self, completed: str) -> Outcome:
        """The outcome of a run that no error ended."""
        step, stop = self.run.progress.steps_completed, self.run.requests.stop
        if stop is None and self.run.mode == "fit" and self.setup.precision.made_no_update:
            reason = "no update was made: with fp16, every step had values that aren't finite"
            return Outcome(Status.DIVERGED, reason, "trainer", step)
        if stop is None and self.run.mode == "fit" and self._never_finite:
            reason = "no train/loss of the run was finite"
            return Outcome(Status.DIVERGED, reason, "trainer", step)
        if stop is None:
            return Outcome(Status.COMPLETED, completed, step=step)
        status = status_of_stop(signal=stop.signal, diverged=stop.diverged)
        return Outcome(status, stop.reason, stop.who, step, signal=stop.signal)

    @property
    def _never_finite(self) -> bool:
        """Whether losses were recorded, and none of them was a number to train by."""
        last = self.run.history.latest("train/loss")
        if last is None or math.isfinite(last):
            return False
        return not any(map(math.isfinite, self.run.history.values("train/loss")))


def _rollback(fields: Mapping[str, Any]) -> Rollback:
    return Rollback(**{**fields, "left_out": training_batches(fields["left_out"])})


def agree(training: Training, *, wait: bool = True) -> None:
    """Learn what all ranks have agreed on; see `Requests.agree`."""
    if wait and training.setup.noting is not None:
        training.setup.noting.models()
    training.run.requests.agree(training.setup.agreement, wait=wait)
    if training.setup.watch is not None:
        training.setup.watch.check()


def stop(training: Training, requests: Sequence[Request]) -> None:
    """Let the run end for the first of `requests`, if there is one and it isn't ending yet."""
    if requests and training.run.requests.end(requests[0]):
        training.fire(Callback.on_stop, requests[0].reason)
