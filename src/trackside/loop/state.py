"""What the loop holds between its start and its end, where it stands, what it has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from torch.optim import Optimizer

from trackside.data.source import DataSource
from trackside.distributed.agreement import agree
from trackside.distributed.replicas import Replicas
from trackside.distributed.sharding import Share
from trackside.history import Record
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome, Status, status_of_stop
from trackside.run import Kind, Request, Rollback, Run, Saver, training_batches
from trackside.schedule import STEP_UNITS, Due, Every, Schedule
from trackside.step.metrics import BLOCK, Metric, MetricFunction, MetricLog
from trackside.step.optimization import Clip, Scheduling, drops_plainly
from trackside.step.output import Steps
from trackside.step.precision import Precision

if TYPE_CHECKING:
    from trackside.distributed.watch import FailureWatch

TRAIN = "train"
Phase = Literal["between", "training", "evaluating"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the loop shall run."""

    clip: Clip | None = None
    log_every: Schedule = field(default_factory=lambda: Every(steps=50))
    evaluate_every: Schedule = field(default_factory=lambda: Every(epochs=1))
    evaluations: tuple[str, ...] = ()
    """Names of the data sets evaluated on that schedule, and at the end."""


class Loop:
    """Everything a run needs between its start and its end, and where it stands."""

    def __init__(
        self,
        run: Run,
        events: Dispatcher,
        steps: Steps,
        precision: Precision,
        sources: Mapping[str, DataSource],
        metrics: Mapping[str, Metric | MetricFunction],
        options: Options,
    ) -> None:
        self.run = run
        self.events = events
        self.steps = steps
        self.precision = precision
        self.sources = sources
        self.options = options
        self.metrics = {n: m for n, m in metrics.items() if isinstance(m, Metric)}
        self.functions = {n: m for n, m in metrics.items() if not isinstance(m, Metric)}
        self.log = MetricLog(run.world.sum_by_name if run.world.size > 1 else None)
        self.agreement = agree(run.world, clock=self.clock)
        self.agreed: list[Request] = []
        """Requests that all ranks know and that are not taken yet."""
        self.spread: Replicas | None = None
        """How the models are spread over ranks; None in one process."""
        self.watch: FailureWatch | None = None
        """Notices when another rank fails; None in one process."""
        self.schedulings: Sequence[Scheduling] = ()
        self.optimizers: tuple[Optimizer, ...] = tuple(run.optimizers.values())
        self.keep_loss = self.log.mean("train/loss").keep
        self.moves = run.device.type != "cpu"
        self.arriving: Callable[[Iterator[Any], DataSource], Iterator[Any]] | None = None
        """Lets batches begin their way to the device before their turn; None: at their turn."""
        self.log_due = Due(options.log_every, STEP_UNITS)
        self.evaluate_after_steps = Due(options.evaluate_every, STEP_UNITS)
        self.evaluate_after_epochs = Due(options.evaluate_every, {"epochs"})

        # Where the loop stands beyond `run.progress`; part of a checkpoint.
        self.phase: Phase = "between"
        self.pending: list[str] = []
        """Evaluations that are due and not done."""
        self.epoch_metrics: dict[str, float] = {}
        self.evaluated_at: dict[str, int] = {}
        """Steps completed at the last evaluation of each data set."""
        self.stop: Request | None = None
        """The request that ends the run, once it is agreed."""
        self.resumed_random_state: dict[str, Any] | None = None
        """Generators as they stood at the checkpoint, put back once the data is wound forward."""
        self.back: list[Request] = []
        """Agreed requests to go back to a checkpoint: what is under way is left for that."""
        self.go_back: Callable[[Loop, str], None] | None = None
        """Puts all back to the newest checkpoint, for a reason; set by who can read them."""
        self.share: Share[Any] | None = None
        """This rank's part of the batch under way; None in one process, or of data of its own."""
        self.asked_to_settle = False
        """Whether rank 0 has asked all to look at what has become of the last save."""

        self.clock_origin = perf_counter()
        """When training would have begun, had it never been interrupted; by `perf_counter`."""

        # Looked up once instead of in every step.
        self.look_at_step: float = 0
        """The step after which something may be due; see `look_ahead`."""
        self.training_step: Callable[[Run, Any], Any] = steps.training_step
        events.on_change = self.refresh_listeners
        self.refresh_listeners()

    def refresh_listeners(self) -> None:
        """Note which parts of a step nobody listens to: they are then done without a look."""
        has_listeners = self.events.has_listeners
        self.hears_step_start = has_listeners(Callback.on_step_start)
        self.hears_step_end = has_listeners(Callback.on_step_end)
        self.hears_batch_start = has_listeners(Callback.on_batch_start)
        self.hears_batch_end = has_listeners(Callback.on_batch_end)
        self.has_step_context = bool(self.events.contexts["step_context"])
        unscaled = self.precision.scaler is None and not self.steps.manual_optimization
        self.plain_backward = (
            unscaled
            and hasattr(self.steps.backward, "default_step")
            and not has_listeners(Callback.on_backward_start, Callback.on_backward_end)
        )
        skips = self.spread is not None and any(c.skips_steps for c in self.run.callbacks)
        self.plain_update = (
            unscaled
            and not skips
            and self.options.clip is None
            and hasattr(self.steps.optimizer_step, "default_step")
            and all(map(drops_plainly, self.optimizers))
            and not has_listeners(
                Callback.on_optimizer_step_start,
                Callback.on_optimizer_step_end,
                Callback.on_zero_grad_start,
                Callback.on_zero_grad_end,
            )
        )

    def look_ahead(self) -> None:
        """Set the step after which the loop has to look whether something is due."""
        run = self.run
        waiting = run.saver is not None and run.saver.needs_attention
        now = run.progress.steps_completed
        if self.spread is not None:  # ranks talk after every step
            self.look_at_step = now + 1
            return
        limit = math.inf if run.limit.steps is None else run.limit.steps
        self.look_at_step = min(
            self.log_due.earliest_step(run.progress),
            self.evaluate_after_steps.earliest_step(run.progress),
            limit,
            now + (1 if waiting else BLOCK),
        )

    @property
    def leaving(self) -> bool:
        """Whether what is under way is to be left: for the end, or to go back."""
        return self.stop is not None or bool(self.back)

    @property
    def signal(self) -> int | None:
        """Number of the signal that asked for the end, as far as this rank knows."""
        asked = [*self.run.requests, *self.agreed, *([self.stop] if self.stop else [])]
        return next((one.signal for one in asked if one.signal is not None), None)

    def not_evaluated(self) -> list[str]:
        """Data sets evaluated on schedule, without those that have seen the present weights."""
        now, known = self.run.progress.steps_completed, self.evaluated_at
        return [name for name in self.options.evaluations if known.get(name) != now]

    def state_dict(self) -> dict[str, Any]:
        """Where the loop stands beyond the counters of `run.progress`."""
        return {
            "phase": self.phase,
            "pending": list(self.pending),
            "epoch_metrics": dict(self.epoch_metrics),
            "evaluated_at": dict(self.evaluated_at),
            "rollbacks": [asdict(rollback) for rollback in self.run.rollbacks],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` was taken. Evaluations of data that is gone are dropped."""
        self.phase = state["phase"]
        self.pending = [name for name in state["pending"] if name in self.sources]
        self.epoch_metrics = dict(state["epoch_metrics"])
        self.evaluated_at = dict(state["evaluated_at"])
        kept = [_rollback(fields) for fields in state.get("rollbacks", ())]
        if len(kept) > len(self.run.rollbacks):  # going back forgets neither this nor former times
            self.run.rollbacks = kept
        for rollback in kept:
            self.sources[TRAIN].leave_out(rollback.left_out)

    def clock(self) -> float:
        """Seconds of training so far, over all resumes, by the clock of this rank."""
        return perf_counter() - self.clock_origin

    def fire(self, hook: Callable[..., Any], *args: Any) -> None:
        """Fire `hook` with the run and `args`."""
        self.events.fire(hook, *args)


def begin_schedules(loop: Loop) -> None:
    """What the counters have crossed is not due again; gradients that were left behind are gone."""
    for due in (loop.log_due, loop.evaluate_after_steps, loop.evaluate_after_epochs):
        due.start(loop.run.progress)
    for optimizer in loop.optimizers:
        optimizer.zero_grad()


def _rollback(fields: Mapping[str, Any]) -> Rollback:
    return Rollback(**{**fields, "left_out": training_batches(fields["left_out"])})


def record(loop: Loop, values: Mapping[str, float]) -> None:
    """Add `values`, with all axes, to the history, and tell the loggers."""
    if not values:
        return
    run, progress = loop.run, loop.run.progress
    if loop.spread is None:
        progress.seconds = loop.clock()
    new = Record(
        {name: float(value) for name, value in values.items()},
        progress.steps_completed,
        progress.epochs_completed,
        progress.samples_completed,
        progress.seconds,
    )
    run.history.append(new)
    loop.epoch_metrics.update(
        {n: v for n, v in values.items() if n.partition("/")[0] in loop.sources}
    )
    loop.fire(Callback.on_log, new)


def measured(loop: Loop) -> dict[str, float]:
    """What callbacks measure at this point, such as rates."""
    values: dict[str, float] = {}
    if loop.events.listeners[Callback.on_measure]:
        loop.fire(Callback.on_measure, values)
    return values


def flush(loop: Loop) -> None:
    """Record what callbacks have logged since the last record."""
    record(loop, loop.log.recent())


def outcome(loop: Loop, completed: str) -> Outcome:
    """How the run ended, if no error did."""
    step, stop = loop.run.progress.steps_completed, loop.stop
    if stop is None and loop.run.mode == "fit" and loop.precision.made_no_update:
        reason = "no update was made: with fp16, every step had values that aren't finite"
        return Outcome(Status.DIVERGED, reason, "trainer", step)
    if stop is None:
        return Outcome(Status.COMPLETED, completed, step=step)
    status = status_of_stop(signal=stop.signal, diverged=stop.diverged)
    return Outcome(status, stop.reason, stop.asked_by, step, signal=stop.signal)


def poll(loop: Loop, *, wait: bool = True) -> None:
    """Learn what all ranks have agreed on; in one process, what was asked for.

    Args:
        loop: The loop.
        wait: Wait for all ranks, so that nothing asked anywhere stays open. Otherwise what was
            asked may come up a few calls later, on all ranks at once.
    """
    run = loop.run
    asked = [request for request in run.requests if request.kind != "skip_step"]
    for request in asked:
        run.requests.remove(request)
    loop.agreed += [request for request in asked if request.all_ranks]
    asked = [request for request in asked if not request.all_ranks]
    loop.agreed += loop.agreement.settle(asked) if wait else loop.agreement.at_step(asked)
    if loop.watch is not None:
        loop.watch.check()


def take(loop: Loop, kind: Kind) -> list[Request]:
    """Agreed requests of one kind, no longer open."""
    taken = [request for request in loop.agreed if request.kind == kind]
    loop.agreed = [request for request in loop.agreed if request.kind != kind]
    return taken


def stop(loop: Loop, requests: Sequence[Request]) -> None:
    """Let the run end for the first of `requests`, if there is one and it isn't ending yet."""
    if requests and loop.stop is None:
        loop.stop = loop.run.stop_request = requests[0]
        loop.fire(Callback.on_stop, loop.stop.reason)


def settle(loop: Loop, saver: Saver) -> None:
    """Tell what has become of checkpoints; on several ranks, at the same step on each.

    They are written by threads, which end at other times on other ranks: rank 0's end is a request
    like any other, and all wait for theirs when it is agreed.
    """
    if loop.spread is None:
        saver.settle(loop.run)
    elif loop.run.world.is_global_zero and not saver.is_writing and not loop.asked_to_settle:
        loop.asked_to_settle = True
        loop.run.requests.append(Request("settle", "a checkpoint was written", "trainer"))


def interrupted(loop: Loop) -> bool:
    """Whether it is agreed that the run ends because of a signal."""
    asked = [*loop.agreed, *([loop.stop] if loop.stop else [])]
    return any(request.signal is not None for request in asked)
