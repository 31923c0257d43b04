"""Passes without gradients: evaluation and prediction. They leave training as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from trackside import randomness
from trackside.data.batches import Batch, move, samples_in
from trackside.data.source import DataSource
from trackside.errors import DataError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.broken_off import breaking_off, is_broken_off
from trackside.loop.state import Loop, flush, interrupted, outcome, poll, record, stop, take
from trackside.outcome import Outcome
from trackside.run import Evaluation
from trackside.step.evaluation import evaluating, in_order
from trackside.step.metrics import scalars
from trackside.step.output import as_output

# --- evaluation --------------------------------------------------------------------------------


def evaluate(loop: Loop, name: str) -> Evaluation | None:
    """Pass over `run.data[name]` without gradients and leave training as it was.

    Returns:
        The evaluation with its final metrics, or None when a signal cut it short.
    """
    run = loop.run
    source = loop.sources[name]
    arriving = loop.arriving or _as_they_come
    evaluation = Evaluation(name, source.rounds)
    # Its own generators, too, may be those of the training data.
    with as_it_was(loop), source.generators_kept(), evaluation.exits:
        run.evaluation = evaluation
        loop.log.begin_evaluation(name)
        loop.fire(Callback.on_evaluation_start, evaluation)
        rounds = 0
        taken = breaking_off(loop, source, source.begin(0))
        batches = arriving(taken, source)
        for rounds, batch in enumerate(batches, start=1):  # noqa: B007 - used below
            if run.requests or loop.spread is not None:
                poll(loop, wait=False)
                if interrupted(loop):
                    loop.log.abandon_evaluation()
                    return None
            if source.counts():
                evaluate_batch(loop, evaluation, batch)
            elif loop.spread is not None and loop.spread.strategy.forward_is_collective:
                _fill(loop, batch, loop.steps.evaluation_step)
        if is_broken_off(taken):
            loop.log.abandon_evaluation()
            return None
        source.check_whole(rounds)
        if rounds == 0:
            raise DataError(f"the data named {name!r} is empty", expected="at least one batch")
        evaluation.metrics.update(loop.log.end_evaluation())
        _compute_metrics(loop, evaluation)
        run.evaluation = None
        record(loop, evaluation.metrics)
        loop.fire(Callback.on_evaluation_end, evaluation)
    flush(loop)
    return evaluation


def evaluate_batch(loop: Loop, evaluation: Evaluation, batch: Batch) -> None:
    """The loss and the metrics of one batch."""
    run, listeners = loop.run, loop.events.listeners
    if loop.moves:
        batch = move(batch, run.device)
    if listeners[Callback.on_evaluation_batch_start]:
        batch = loop.events.transform(Callback.on_evaluation_batch_start, batch, evaluation)
    samples = samples_in(batch)
    run.batch_samples = samples
    with loop.events.context("evaluation_context"), loop.precision.autocast or nullcontext():
        returned = loop.steps.evaluation_step(run, batch)
    output = as_output(returned)
    weight = samples if output.weight is None else output.weight
    loop.log.add(f"{evaluation.name}/loss", output.loss, weight)
    if (loop.metrics or loop.functions) and output.prediction is None:
        raise UsageError(
            "there are metrics, and the evaluation step returned no prediction",
            remedy="return `Output(loss, prediction, target)` from `evaluation_step`",
        )
    for metric in loop.metrics.values():
        metric.update(output.prediction, output.target)
    for name, function in loop.functions.items():
        value = function(output.prediction, output.target)
        loop.log.add(f"{evaluation.name}/{name}", value, samples)
    evaluation.batches_completed += 1
    evaluation.samples_completed += samples
    if listeners[Callback.on_evaluation_batch_end]:
        loop.fire(Callback.on_evaluation_batch_end, evaluation, batch, returned)


def _fill(loop: Loop, batch: Batch, step: Callable[[Any, Batch], object]) -> None:
    """Take part in a round in which this rank has no batch of its own: nothing of it counts."""
    if loop.moves:
        batch = move(batch, loop.run.device)
    with loop.run.discarding(), loop.precision.autocast or nullcontext():
        step(loop.run, batch)


def _compute_metrics(loop: Loop, evaluation: Evaluation) -> None:
    for name, metric in loop.metrics.items():
        numbers, others = scalars(f"{evaluation.name}/{name}", metric.compute())
        evaluation.metrics.update(numbers)
        evaluation.results.update(others)
        metric.reset()


def _as_they_come(batches: Iterator[Batch], source: DataSource) -> Iterator[Batch]:
    return batches


@contextmanager
def as_it_was(loop: Loop) -> Iterator[None]:
    """Modules evaluate inside; afterwards modes and random generators are as they were before."""
    batch_samples = loop.run.batch_samples
    for metric in loop.metrics.values():
        metric.reset()
    try:
        with randomness.preserved(), evaluating(loop.run.models):
            yield
    finally:
        loop.run.evaluation = None
        loop.run.batch_samples = batch_samples


# --- prediction --------------------------------------------------------------------------------


def predict(loop: Loop, name: str) -> tuple[Outcome, list[Any]]:
    """Predict all batches of `run.data[name]`; predictions come back on the host, in order."""
    run, source = loop.run, loop.sources[name]
    arriving = loop.arriving or _as_they_come
    predictions: list[Any] = []
    with as_it_was(loop):
        loop.fire(Callback.on_predict_start)
        rounds = 0
        taken = breaking_off(loop, source, source.begin(0))
        batches = arriving(taken, source)
        for rounds, batch in enumerate(batches, start=1):  # noqa: B007 - used below
            if source.counts():
                predictions.append(_predict_batch(loop, batch))
            elif loop.spread is not None and loop.spread.strategy.forward_is_collective:
                _fill(loop, batch, loop.steps.predict_step)
            if run.requests or loop.spread is not None:
                poll(loop, wait=False)
                stop(loop, take(loop, "stop"))
                if loop.stop is not None:
                    break
        else:
            if is_broken_off(taken):
                poll(loop)
                stop(loop, take(loop, "stop"))
            else:
                source.check_whole(rounds)
        predictions = in_order(run, predictions)
        loop.fire(Callback.on_predict_end)
    return outcome(loop, f"predicted {name!r}"), predictions


def _predict_batch(loop: Loop, batch: Batch) -> Any:
    run, listeners = loop.run, loop.events.listeners
    if loop.moves:
        batch = move(batch, run.device)
    if listeners[Callback.on_predict_batch_start]:
        batch = loop.events.transform(Callback.on_predict_batch_start, batch)
    with loop.precision.autocast or nullcontext():
        prediction = loop.steps.predict_step(run, batch)
    if listeners[Callback.on_predict_batch_end]:
        loop.fire(Callback.on_predict_batch_end, batch, prediction)
    return move(prediction, torch.device("cpu"))
