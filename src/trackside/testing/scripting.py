"""Runs a callback through a scripted training: no data and no model, and numbers as a test says.

What early stopping, a logger or a schedule does depends on events and numbers. A script gives both:

    run = script(EarlyStopping("val/loss", patience=1), [{"val/loss": 0.5}, {"val/loss": 0.6}])
    assert run.outcome.status == "stopped"

The loop is the one of every run (`trackside/loop/`), over steps that compute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trackside.data.loaded import LoadedBatch, Origin
from trackside.distributed.world import World
from trackside.errors import WrongTimeError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.lifetime import live
from trackside.loop.fit import after_step, finish_epoch, fit, leave_epoch, train_step
from trackside.loop.fit import epoch as one_epoch
from trackside.loop.recording import record
from trackside.loop.safe_points import safe_point
from trackside.loop.spans import EpochSpan, Span, TrainEpochSpan
from trackside.loop.state import TRAIN, Ended, Training
from trackside.outcome import Outcome, Status
from trackside.progress import RunLimit
from trackside.requests import Request
from trackside.run import Run
from trackside.step.precision import Precision
from trackside.testing.recording import Recorder
from trackside.testing.scripted_loop import (
    Metrics,
    Numbers,
    ScriptedLog,
    ScriptedRequests,
    ScriptedSaver,
    assemble,
    source,
    topic_of,
)

Story = Sequence[Metrics] | Callable[["ScriptedRun"], object]


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
        self.requests = self._requests = ScriptedRequests()
        self.data = {name: source(name, [None]) for name in data}
        self.models = {}
        self.world = World()
        self.device = torch.device("cpu")
        self.precision = Precision("fp32", self.device)
        self.optimizers = {"optimizer": torch.optim.SGD([{"params": []}], lr=0.1)}
        self.schedulings = {}
        self._epoch_steps = epoch_steps
        self._numbers = Numbers(samples, seconds)
        self._log = ScriptedLog(self._numbers)
        self._training: Training | None = None
        self._open: _OpenEpoch | None = None
        self._played = False

    @property
    def saves(self) -> list[Request]:
        """Requests for a checkpoint that were taken."""
        return self._requests.saves

    @property
    def evaluations(self) -> list[str]:
        """Names of the evaluations that were made, oldest first."""
        return self._log.ended

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
            self.metric_log = self._log
            self.saver = self.saver or ScriptedSaver()
            self._training = assemble(self, events, self._numbers, self._log)
            ended = fit(self._training, lambda training: self._tell(story))
            if ended.status is Status.COMPLETED:
                return replace(ended, reason="the script is over")
            return ended

        ended = live(self, self.callbacks, events, self.recorder, body)
        self.recorder.check(ended)
        return ended

    def _tell(self, story: Story) -> None:
        if self._played:  # the loop went back to a checkpoint: a story is played once
            return
        self._played = True
        if callable(story):
            story(self)
        else:
            for metrics in story:
                self.tell_epoch(metrics)
        self._end_epoch()

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
        self._end_epoch()
        if self._leaving:
            return
        count = self._epoch_steps if steps is None else steps
        self._numbers.epoch = metrics
        self._numbers.step = {"loss": metrics.get("train/loss", 0.0)}
        if count:
            self._sources[TRAIN] = source(TRAIN, [None] * count)
            one_epoch(self._under_way)
        else:
            self._open = _OpenEpoch(self._under_way)
            self._end_epoch()
        self._numbers.epoch = {}

    def tell_step(self, values: Metrics | None = None, batch: Any = None) -> None:
        """One step of one batch; outside of `tell_epoch` it belongs to an epoch that stays open.

        Args:
            values: `loss` is what the backward hooks get; all are recorded under `train_recent/`.
            batch: What the batch hooks get.
        """
        if self._leaving:
            return
        training, progress = self._under_way, self.progress
        if self._open is None:
            self._open = _OpenEpoch(training)
        self._numbers.step = values or {}
        loaded = LoadedBatch(batch, Origin(progress.epoch_batches_completed, self._numbers.samples))
        with training.setup.events.context("step_context"):
            train_step(training, loaded, iter(()))
        progress.seconds = training.position.clock()
        after_step(training)

    def tell_evaluation(self, metrics: Metrics, batches: Sequence[Any] = (None,)) -> None:
        """One evaluation, of the data set that the names of `metrics` begin with."""
        if self._leaving:
            return
        name = topic_of(next(iter(metrics)))
        self._numbers.evaluations[name] = metrics
        self._sources[name] = source(name, batches)
        self._under_way.position.pending_evaluations.append(name)
        safe_point(self._under_way)

    def record(self, values: Metrics) -> None:
        """Record `values` by full name, and what callbacks have logged since the last record."""
        record(self._under_way, {**values, **self._log.recent()})

    def safe_point(self) -> None:
        """Take what callbacks have asked for: evaluations, checkpoints, the end."""
        safe_point(self._under_way)

    # --- inside --------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        """End the epoch under way, if there is one."""
        if self._open is not None:
            left, self._open = self._open, None
            left.end(self.stopped)

    @property
    def _under_way(self) -> Training:
        if self._training is None:
            raise WrongTimeError(
                "the script has no run under way",
                expected="`tell_step` and the like in a story, which `play` calls",
            )
        return self._training

    @property
    def _leaving(self) -> bool:
        return self.requests.leaving

    @property
    def _sources(self) -> dict[str, Any]:
        sources: dict[str, Any] = self.data  # type: ignore[assignment]
        return sources

    def _dispatcher(self) -> Dispatcher:
        if not isinstance(self._events, Dispatcher):
            raise AssertionError("a scripted run is made with a dispatcher")
        return self._events


class _OpenEpoch:
    """An epoch whose steps come one by one; nobody knows how many."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._exits = ExitStack()
        self._epoch: Span = self._exits.enter_context(EpochSpan(training))
        self._inner = ExitStack()
        self._steps: Span = self._inner.enter_context(TrainEpochSpan(training))
        training.position.phase = "training"
        training.run.progress.begin_epoch()
        training.schedule_next_check()

    def end(self, stopped: bool) -> None:
        training = self._training
        back = bool(training.run.requests.going_back)
        ended = Ended.ROLLBACK if back else Ended.STOP if stopped else Ended.DATA
        self._steps.ended = self._epoch.ended = ended
        self._inner.close()
        finish_epoch(training, self._epoch)
        self._exits.close()
        leave_epoch(training)


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
