"""Prediction: a pass without targets; predictions come back on the host, in order."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from trackside.data.batches import Batch, move
from trackside.data.order import PassOrder
from trackside.data.source import DataSource
from trackside.distributed import wire
from trackside.distributed.wire import UnsendableError
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.broken_off import breaking_off, is_broken_off
from trackside.loop.evaluate import fill_round, prefetched, unchanged
from trackside.loop.replicated import without_gradients
from trackside.loop.spans import PredictSpan
from trackside.loop.state import Training, agree, stop
from trackside.outcome import Outcome
from trackside.progress import counted
from trackside.step.evaluation import in_order


def predict(training: Training, name: str, made: list[Any] | None) -> Outcome:
    """Predict all batches of `run.data[name]`.

    Args:
        training: The run.
        name: Which data.
        made: Gets the predictions as they are made, one entry per batch, on the host; at the end
            they are those of all ranks, in order. None: nothing is kept.
    """
    run = training.run
    with unchanged(training), PredictSpan(training):
        try:
            source = training.setup.sources[name]
            _predict_batches(training, source, made)
            if made is not None:
                made[:] = in_order(run, made, split=source.split.is_split)
        except BaseException as error:
            if made:
                error.add_note(
                    f"the predictions of {counted(len(made), 'batch')}, made before that, are in "
                    "`trainer.result.predictions`"
                )
            raise
    return training.outcome(f"predicted {name!r}")


def _predict_batches(training: Training, source: DataSource, made: list[Any] | None) -> None:
    run, setup = training.run, training.setup
    if setup.noting is not None:
        setup.noting.used("the model that predicts")
    order = PassOrder(source, run.world)
    rounds, taken = 0, breaking_off(run, source, source.begin(0))
    for batch in prefetched(training, source, taken):
        rounds = batch.origin.number + 1
        order.check_round()
        if not batch.origin.counts:
            fill_round(training, batch.data, setup.steps.predict_step)
        else:
            prediction = _predict_batch(training, batch.data)
            if made is not None:
                made.append(move(prediction, torch.device("cpu")))
                if len(made) == 1 and run.world.size > 1:
                    _check_sendable(made[0])
        if run.requests.asked or setup.replicas is not None:
            agree(training, wait=False)
            stop(training, run.requests.take("stop"))
            if run.requests.stop is not None:
                return
    if is_broken_off(taken):
        agree(training)
        stop(training, run.requests.take("stop"))
    else:
        source.check_whole(rounds)
        order.check_end()
        setup.agreement.compare_now()


def _predict_batch(training: Training, batch: Batch) -> Any:
    setup, run = training.setup, training.run
    listeners = setup.events.listeners
    if run.device.type != "cpu":
        batch = move(batch, run.device)
    if listeners[Callback.on_predict_batch_start]:
        batch = setup.events.transform(Callback.on_predict_batch_start, batch)
    with setup.precision.autocast or nullcontext():
        prediction = without_gradients(training, setup.steps.predict_step, batch)
    if listeners[Callback.on_predict_batch_end]:
        training.fire(Callback.on_predict_batch_end, batch, prediction)
    return prediction


def _check_sendable(prediction: Any) -> None:
    """Refuse predictions that ranks can't send each other, at the first batch.

    Raises:
        UnsendableError: They hold something else than tensors, arrays, numbers and texts.
    """
    try:
        wire.pack(prediction)
    except UnsendableError as error:
        raise UnsendableError(
            "predictions of several ranks can't be put together: " + error.message,
            expected=error.expected,
            received=error.received,
            remedy="return a mapping from `predict_step`, such as {'logits': ...}; or predict with "
            "keep=False, and `SavePredictions` on each rank",
        ) from None


def check_taken(training: Training, pad: float | None) -> None:
    """Refuse a prediction that nobody keeps, and of whose batches nobody hears.

    Raises:
        UsageError: The step is the default one, and no callback listens to `on_predict_batch_end`;
            or `pad` is given, and nothing is kept to be padded.
    """
    if pad is not None:
        raise UsageError(
            f"pad={pad!r} has no effect without `keep`: nothing is joined",
            remedy="leave `pad` out",
            option="pad",
        )
    setup = training.setup
    if setup.events.has_listeners(Callback.on_predict_batch_end):
        return
    if hasattr(setup.steps.predict_step, "default_step"):
        raise UsageError(
            "keep=False, and nobody takes the predictions",
            expected="a callback that takes those of each batch",
            remedy="callbacks=[SavePredictions('predict')], or one of your own with "
            "`on_predict_batch_end(self, run, batch, prediction)`",
            option="keep",
        )
