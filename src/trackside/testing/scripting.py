"""Runs a callback through a scripted training: no torch, no data, no model.

What early stopping, a logger or a schedule does depends on events and numbers. A script gives both:

    run = script(EarlyStopping("val/loss", patience=1), [{"val/loss": 0.5}, {"val/loss": 0.6}])
    assert run.outcome.status == "stopped"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from trackside.history import Record
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import HOOKS, Callback
from trackside.lifecycle.lifetime import live
from trackside.outcome import Outcome, Status, status_of_stop
from trackside.progress import RunLimit
from trackside.requests import Kind, Request
from trackside.run import Evaluation, Run, SkippedStep
from trackside.testing.recording import Recorder

T = TypeVar("T")
Metrics = Mapping[str, float]
Story = Sequence[Metrics] | Callable[["ScriptedRun"], object]
TRAIN = "train"
_NAMES = list(HOOKS)
_PREPARING = _NAMES[_NAMES.index("on_launch_start") : _NAMES.index("on_fit_start")]


class ScriptedRun(Run):
    """A run in which a test scripts what happens; callbacks hear the events that `fit` would fire.

    Args:
        callbacks: One callback, or several, in order.
        epochs: Limit in epochs, as callbacks read it in `run.limit`.
        steps: Limit in steps.
        epoch_steps: Steps of an epoch.
        samples: Samples of a step.
        seconds: Seconds that a step takes, as `run.progress` counts them.
        data: Names of the data sets that can be evaluated.
        directory: The run's folder.

    Example:
        >>> def story(run):
        ...     run.tell_step({"loss": 0.7})
        ...     run.tell_evaluation({"val/loss": 0.5})
        >>> ScriptedRun(Printer()).play(story).status
        <Status.COMPLETED: 'completed'>
    """

    def __init__(
        self,
        callbacks: Callback[Any] | Iterable[Callback[Any]],
        *,
        epochs: int | None = None,
        steps: int | None = None,
        epoch_steps: int = 4,
        samples: int = 8,
        seconds: float = 1.0,
        data: Iterable[str] = (TRAIN, "val", "test"),
        directory: Path | str = ".",
    ) -> None:
        super().__init__("fit", directory, events=Dispatcher)
        several = [callbacks] if isinstance(callbacks, Callback) else callbacks
        self.callbacks = CallbackCollection(several, type(self))
        self.limit = RunLimit(epochs, steps, epoch_steps, epoch_steps * samples)
        self.recorder = Recorder()
        """All events, as a callback hears them that comes before all others."""
        self.saves: list[Request] = []
        """Requests for a checkpoint that were taken."""
        self.evaluations: list[str] = []
        """Names of the evaluations that were made, oldest first."""
        self.data = dict.fromkeys(data)
        self.world: Any = _OneProcess()
        self.device: Any = "cpu"
        self.precision: Any = SimpleNamespace(name="fp32")
        rates = SimpleNamespace(param_groups=[{"lr": 0.1, "params": []}])
        self.optimizers: Mapping[str, Any] = {"optimizer": rates}
        self._epoch_steps = epoch_steps
        self._samples = samples
        self._seconds = seconds
        self._logged = _Logged()
        self._in_epoch = False

    # --- the whole -----------------------------------------------------------------------------

    def play(self, story: Story) -> Outcome:
        """Run `story` between attach and close, and hold what was fired against the grammar.

        Args:
            story: Metrics of one epoch after another, or a function of this run that calls
                `tell_step`, `tell_epoch`, `tell_evaluation`, `fire`, or raises. What comes
                after a stop isn't heard.

        Raises:
            BaseException: What the story or a callback raised.
        """
        events = self._dispatcher()

        def body() -> Outcome:
            for hook in (
                Callback.on_launch_start,
                Callback.on_configure_start,
                Callback.on_configure_end,
                Callback.on_setup_start,
                Callback.on_optimizers_ready,
                Callback.on_setup_end,
            ):
                self.fire(hook)
            self.metric_log = self._logged
            self.fire(Callback.on_fit_start)
            self.safe_point()
            if callable(story):
                story(self)
            else:
                for metrics in story:
                    self.tell_epoch(metrics)
            self._end_epoch({})
            self.fire(Callback.on_fit_end)
            self.record({})
            self.safe_point()
            return self._ended()

        ended = live(self, self.callbacks, events, self.recorder, body)
        self.recorder.check(ended)
        return ended

    def _ended(self) -> Outcome:
        stop, step = self.requests.stop, self.progress.steps_completed
        if stop is None:
            return Outcome(Status.COMPLETED, "the script is over", step=step)
        status = status_of_stop(signal=stop.signal, diverged=stop.diverged)
        return Outcome(status, stop.reason, stop.asked_by, step, signal=stop.signal)

    @property
    def stopped(self) -> bool:
        """Whether a request to stop was taken: events from here on aren't fired."""
        return self.requests.stop is not None

    # --- what can be scripted ------------------------------------------------------------------

    def fire(self, hook: Callable[..., Any], *arguments: Any) -> None:
        """Fire `hook` with the run and `arguments`."""
        self._dispatcher().fire(hook, *arguments)

    def tell_epoch(self, metrics: Metrics, steps: int | None = None) -> None:
        """One epoch with its steps, its record and its evaluations.

        Args:
            metrics: By full name; `train/...` is of the training, other data sets are evaluated.
            steps: Steps of the epoch; None takes `epoch_steps`.
        """
        self._end_epoch({})
        if self.stopped:
            return
        self._begin_epoch()
        for _ in range(self._epoch_steps if steps is None else steps):
            self.tell_step({"loss": metrics.get("train/loss", 0.0)})
        self._end_epoch(metrics)

    def _begin_epoch(self) -> None:
        self._in_epoch = True
        progress = self.progress
        self.fire(Callback.on_epoch_start)
        self.fire(Callback.on_train_epoch_start)
        progress.begin_epoch()

    def _end_epoch(self, metrics: Metrics) -> None:
        """End the epoch under way, if there is one."""
        if not self._in_epoch:
            return
        self._in_epoch = False
        progress = self.progress
        progress.epochs_completed += not self.stopped
        given = {name: value for name, value in metrics.items() if _topic(name) == TRAIN}
        means = {**self._logged.epoch(), **given}
        self.record(means)
        self.fire(Callback.on_train_epoch_end, dict(means))
        seen = dict(means)
        if not self.stopped:
            for name in self.data:
                of_name = {n: v for n, v in metrics.items() if _topic(n) == name != TRAIN}
                if of_name:
                    self.tell_evaluation(of_name)
                    seen.update(of_name)
            progress.epochs_closed += 1
        self.fire(Callback.on_epoch_end, seen)
        self.record({})
        self.safe_point()

    def tell_step(self, values: Metrics | None = None, batch: Any = None) -> None:
        """One step of one batch; outside of `tell_epoch` it belongs to an epoch that stays open.

        Args:
            values: `loss` is what the backward hooks get; all are recorded under `train_recent/`.
            batch: What the batch hooks get.
        """
        if self.stopped:
            return
        if not self._in_epoch:
            self._begin_epoch()
        values, progress = values or {}, self.progress
        loss: Any = values.get("loss", 0.0)
        events, optimizer = self._dispatcher(), self.optimizer
        with events.context("step_context"):
            self.fire(Callback.on_step_start)
            batch = events.transform(Callback.on_batch_start, batch)
            self.batch_samples = self._samples
            self.fire(Callback.on_backward_start, loss)
            self.fire(Callback.on_backward_end, loss)
            progress.batches_completed += 1
            progress.samples_completed += self._samples
            self.fire(Callback.on_batch_end, batch, {"loss": loss})
            self.fire(Callback.on_optimizer_step_start, optimizer)
            self.fire(Callback.on_optimizer_step_end, optimizer)
            self.fire(Callback.on_zero_grad_start, optimizer)
            self.fire(Callback.on_zero_grad_end, optimizer)
            for request in self._take("skip_step"):
                step = progress.steps_completed + 1
                self.skipped_steps.append(SkippedStep(step, request.reason, request.who))
            progress.steps_completed += 1
            progress.seconds += self._seconds
            self.fire(Callback.on_step_end)
        self.record({f"train_recent/{name}": value for name, value in values.items()})
        self.safe_point()

    def tell_evaluation(self, metrics: Metrics, batches: Sequence[Any] = (None,)) -> None:
        """One evaluation, of the data set that the names of `metrics` begin with."""
        if self.stopped:
            return
        self._evaluate(_topic(next(iter(metrics))), metrics, batches)
        self.safe_point()

    def record(self, values: Metrics) -> None:
        """Record `values` by full name, and what callbacks have logged since the last record."""
        values = {**values, **self._logged.take()}
        if values:
            p = self.progress
            axes = (p.steps_completed, p.epochs_completed, p.samples_completed, p.seconds)
            new = Record(values, *axes)
            self.history.append(new)
            self.fire(Callback.on_log, new)

    def safe_point(self) -> None:
        """Take what callbacks have asked for: evaluations, checkpoints, the end."""
        while True:
            evaluations = self._take("evaluate")
            for request in evaluations:
                self._evaluate(request.name, {}, (None,))
            saves, stops = self._take("save"), self._take("stop")
            self.saves += saves
            if stops and self.requests.end(stops[0]):
                self.fire(Callback.on_stop, stops[0].reason)
            if not (evaluations or saves or stops):
                return

    # --- inside --------------------------------------------------------------------------------

    def _evaluate(self, name: str, metrics: Metrics, batches: Sequence[Any]) -> None:
        events = self._dispatcher()
        self.evaluation = evaluation = Evaluation(name, len(batches))
        self.fire(Callback.on_evaluation_start, evaluation)
        for batch in batches:
            batch = events.transform(Callback.on_evaluation_batch_start, batch, evaluation)
            with events.context("evaluation_context"):
                evaluation.batches_completed += 1
                evaluation.samples_completed += self._samples
            self.fire(Callback.on_evaluation_batch_end, evaluation, batch, None)
        evaluation.metrics.update(metrics)
        self.evaluations.append(name)
        self.evaluation = None
        self.record(evaluation.metrics)
        self.fire(Callback.on_evaluation_end, evaluation)
        self.record({})

    def _take(self, kind: Kind) -> list[Request]:
        self.requests.agree(_Alone())
        self.requests.agree_on_skip(_Alone())
        return self.requests.take(kind)

    def _dispatcher(self) -> Dispatcher:
        if not isinstance(self._events, Dispatcher):
            raise AssertionError("a scripted run is made with a dispatcher")
        return self._events


def script(
    callbacks: Callback[Any] | Iterable[Callback[Any]], story: Story, **options: Any
) -> ScriptedRun:
    """Run callbacks through a scripted training, and return the run.

    Args:
        callbacks: One callback, or several, in order.
        story: Metrics of one epoch after another (`{"train/loss": 1.0, "val/loss": 0.5}`), or a
            function of the `ScriptedRun` that scripts it step by step.
        options: Those of `ScriptedRun`.

    Returns:
        The run: `outcome`, `history`, `recorder`, `progress`, `saves`.

    Example:
        >>> run = script(EarlyStopping("val/loss", patience=1), [{"val/loss": 1.0}] * 3)
        >>> run.progress.epochs_completed
        2
    """
    run = ScriptedRun(callbacks, **options)
    run.play(story)
    return run


def _topic(name: str) -> str:
    return name.partition("/")[0]


class _Logged:
    """Weighted means of what callbacks logged, without tensors: recent ones, and of the epoch."""

    def __init__(self) -> None:
        self._recent: dict[str, tuple[float, float]] = {}
        self._epoch: dict[str, tuple[float, float]] = {}

    def add(self, name: str, value: Any, weight: float) -> None:
        """Add `value` with `weight` to the mean kept under `name`."""
        for sums in (self._recent, self._epoch):
            total, weights = sums.get(name, (0.0, 0.0))
            sums[name] = (total + float(value) * weight, weights + weight)

    def take(self) -> dict[str, float]:
        """Means since the last record, training's under `train_recent/`; the means start again."""
        means = _means(self._recent)
        self._recent.clear()
        return {
            f"train_recent/{name.partition('/')[2]}" if _topic(name) == TRAIN else name: value
            for name, value in means.items()
        }

    def epoch(self) -> dict[str, float]:
        """Means over the epoch of the names under `train/`; they start again."""
        means = {name: mean for name, mean in _means(self._epoch).items() if _topic(name) == TRAIN}
        self._epoch.clear()
        return means


def _means(sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {name: total / weight for name, (total, weight) in sums.items()}


class _Alone:
    """The agreement of one process, as that of `distributed/agreement.py`, without torch."""

    def at_step(self, asked: Sequence[Request]) -> Sequence[Request]:
        """The requests themselves."""
        return asked

    agree_now = exchange = at_step


class _OneProcess:
    """The world of one process, as `run.world` offers it, without torch."""

    rank = 0
    size = 1
    local_rank = 0
    is_global_zero = True

    def all_reduce(self, x: T, op: str = "mean") -> T:
        """`x` itself."""
        return x

    def gather(self, x: T) -> list[T]:
        """`x` alone."""
        return [x]

    def broadcast(self, x: T, source: int = 0) -> T:
        """`x` itself."""
        return x

    def barrier(self) -> None:
        """Do nothing: no other rank exists."""

    def on_rank_zero(self, fn: Callable[[], T]) -> T:
        """The result of `fn`."""
        return fn()
