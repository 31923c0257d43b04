"""Evaluation: a pass over a named data set without gradients. It leaves training as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from trackside.data.batches import Batch, move
from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch
from trackside.data.source import DataSource
from trackside.distributed.buffers import buffers_of_rank_zero
from trackside.errors import DataError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.agreed_metrics import agreed
from trackside.loop.batch_notes import note_batch
from trackside.loop.broken_off import breaking_off, is_broken_off
from trackside.loop.counting import UNKNOWN, settle
from trackside.loop.recording import flush
from trackside.loop.replicated import without_gradients
from trackside.loop.spans import EvaluationSpan
from trackside.loop.state import Ended, Training, agree
from trackside.loop.unlogged import report_unlogged
from trackside.machine import randomness
from trackside.run import Evaluation
from trackside.step.evaluation import evaluating
from trackside.step.metric_states import over_ranks
from trackside.step.metrics import scalars
from trackside.step.output import Output, as_output

logger = logging.getLogger("trackside")


def evaluate(training: Training, name: str) -> Evaluation | None:
    """Pass over `run.data[name]` without gradients and leave training as it was.

    Returns:
        The evaluation with its final metrics, or None when a signal cut it short.
    """
    source = training.setup.sources[name]
    evaluation = Evaluation(name, source.rounds)
    # Its own generators, too, may be those of the training data.
    with (
        unchanged(training),
        source.generators_kept(),
        evaluation.exits,
        EvaluationSpan(training, evaluation) as span,
    ):
        span.ended = _evaluate_batches(training, evaluation, source)
        if span.ended is Ended.STOP:
            return None
        training.setup.agreement.compare_now()
        log = training.setup.log
        evaluation.metrics.update(log.end_evaluation())
        may_lack = getattr(training.setup.steps, "may_lack", ())
        nothing = ", ".join(name for name in log.of_nothing if name not in may_lack)
        if nothing and training.run.world.is_global_zero:
            logger.warning("the evaluation has no %s: its batches weigh nothing", nothing)
        _compute_metrics(training, evaluation)
        for metric in training.setup.mean_check.finish():
            logger.warning("%s", metric)
    flush(training)
    if training.run.mode == "fit":
        report_unlogged(training, name)
    return evaluation


def _evaluate_batches(training: Training, evaluation: Evaluation, source: DataSource) -> Ended:
    """All batches of a pass, unless a signal cuts it short."""
    requests, setup = training.run.requests, training.setup
    if setup.noting is not None:
        setup.noting.used(f"the model evaluated on {evaluation.name!r}")
    rounds, taken = 0, breaking_off(training.run, source, source.begin(0, resumable=False))
    for batch in prefetched(training, source, taken):
        rounds = batch.origin.number + 1
        if setup.noting is not None and batch.origin.drawn:
            setup.noting.batch(evaluation.name, batch.origin.number, batch.origin.drawn)
        if requests.asked or setup.replicas is not None:
            agree(training, wait=False)
            if requests.interrupted:
                return Ended.STOP
        if batch.origin.counts:
            evaluate_batch(training, evaluation, batch, source)
        else:
            fill_round(training, batch.data, setup.steps.evaluation_step)
    if is_broken_off(taken):
        return Ended.STOP
    source.check_whole(rounds)
    if rounds == 0:
        raise DataError(
            f"the data named {evaluation.name!r} is empty", expected="at least one batch"
        )
    return Ended.DATA


def evaluate_batch(
    training: Training, evaluation: Evaluation, loaded: LoadedBatch, source: DataSource
) -> None:
    """The loss and the metrics of one batch."""
    setup, run = training.setup, training.run
    events, autocast = setup.events, setup.precision.autocast
    batch, origin = loaded
    if run.device.type != "cpu":
        batch = move(batch, run.device)
    if events.listeners[Callback.on_evaluation_batch_start]:
        batch = events.transform(Callback.on_evaluation_batch_start, batch, evaluation)
    samples = counted(batch) if origin.samples is None else origin.samples
    run.batch_samples = UNKNOWN if samples is None else samples
    try:
        if autocast is None and not events.contexts["evaluation_context"]:
            returned = without_gradients(training, setup.steps.evaluation_step, batch)
        else:
            with events.context("evaluation_context"), autocast or nullcontext():
                returned = without_gradients(training, setup.steps.evaluation_step, batch)
    except Exception as error:
        note_batch(error, "evaluation_step", batch, setup)
        raise
    output = as_output(returned)
    if samples is None or output.samples is not None:
        samples = settle(training, source, batch, samples, output.samples)
    weight = samples if output.weight is None else output.weight
    setup.log.add(f"{evaluation.name}/loss", output.loss, weight)
    if (setup.metrics or setup.functions) and output.prediction is None:
        raise UsageError(
            "there are metrics, and the evaluation step returned no prediction",
            remedy="return `Output(loss, prediction, target)` from `evaluation_step`",
        )
    for metric in setup.metrics.values():
        metric.update(output.prediction, output.target)
    if setup.functions:
        _apply_functions(training, evaluation, output, samples)
    evaluation.batches_completed += 1
    evaluation.samples_completed += samples
    if events.listeners[Callback.on_evaluation_batch_end]:
        events.fire(Callback.on_evaluation_batch_end, evaluation, batch, returned)


def _apply_functions(
    training: Training, evaluation: Evaluation, output: Output, samples: int
) -> None:
    """The metrics that are functions: their mean over batches is recorded."""
    setup, (prediction, target) = training.setup, (output.prediction, output.target)
    values = {name: function(prediction, target) for name, function in setup.functions.items()}
    for name, value in values.items():
        setup.log.add(f"{evaluation.name}/{name}", value, samples)
    setup.mean_check.see(setup.functions, prediction, target, values, samples)


def fill_round(training: Training, batch: Batch, step: Callable[[Any, Batch], object]) -> None:
    """Take part in a round in which this rank has no batch of its own: nothing of it counts.

    Only where the model's forward pass is a collective; elsewhere nobody waits for this rank.
    """
    setup, run = training.setup, training.run
    if setup.replicas is None or not setup.replicas.strategy.forward_is_collective:
        return
    if run.device.type != "cpu":
        batch = move(batch, run.device)
    with run.discarding(), setup.precision.autocast or nullcontext():
        without_gradients(training, step, batch)


def _compute_metrics(training: Training, evaluation: Evaluation) -> None:
    metrics, world = training.setup.metrics, training.run.world
    computed: dict[str, float] = {}
    with over_ranks(world, metrics):
        for name, metric in metrics.items():
            numbers, others = scalars(f"{evaluation.name}/{name}", metric.compute())
            computed.update(numbers)
            evaluation.results.update(others)
    for metric in metrics.values():
        metric.reset()
    if metrics:
        evaluation.metrics.update(agreed(world, computed))


def prefetched(
    training: Training, source: DataSource, batches: Iterator[LoadedBatch]
) -> Iterator[LoadedBatch]:
    """The batches of a pass, on their way to the device before their turn where that helps."""
    prefetcher = training.setup.prefetcher
    return batches if prefetcher is None else prefetcher(batches, source)


@contextmanager
def unchanged(training: Training) -> Iterator[None]:
    """Modules evaluate inside; afterwards modes and random generators are as they were before."""
    run = training.run
    batch_samples = run.batch_samples
    for metric in training.setup.metrics.values():
        metric.reset()
    try:
        with (
            randomness.preserved(),
            evaluating(training.setup.modules),
            buffers_of_rank_zero(run.world, training.setup.modules),
        ):
            yield
    finally:
        run.evaluation = None
        run.batch_samples = batch_samples
