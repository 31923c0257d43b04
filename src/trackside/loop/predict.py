"""Prediction: a pass without targets; predictions come back on the host, in order."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from trackside.data.batches import Batch, move
from trackside.lifecycle.hooks import Callback
from trackside.loop.broken_off import breaking_off, is_broken_off
from trackside.loop.evaluate import arriving, fill_round, unchanged
from trackside.loop.state import Training, agree, stop
from trackside.outcome import Outcome
from trackside.step.evaluation import in_order


def predict(training: Training, name: str) -> tuple[Outcome, list[Any]]:
    """Predict all batches of `run.data[name]`; predictions come back on the host, in order."""
    run, setup = training.run, training.setup
    source = setup.sources[name]
    predictions: list[Any] = []
    with unchanged(training):
        training.fire(Callback.on_predict_start)
        rounds, taken = 0, breaking_off(run, source, source.begin(0))
        for batch in arriving(training, source, taken):
            rounds = batch.origin.number + 1
            if batch.origin.counts:
                predictions.append(_predict_batch(training, batch.data))
            else:
                fill_round(training, batch.data, setup.steps.predict_step)
            if run.requests.asked or setup.replicas is not None:
                agree(training, wait=False)
                stop(training, run.requests.take("stop"))
                if run.requests.stop is not None:
                    break
        else:
            if is_broken_off(taken):
                agree(training)
                stop(training, run.requests.take("stop"))
            else:
                source.check_whole(rounds)
        predictions = in_order(run, predictions)
        training.fire(Callback.on_predict_end)
    return training.outcome(f"predicted {name!r}"), predictions


def _predict_batch(training: Training, batch: Batch) -> Any:
    setup, run = training.setup, training.run
    listeners = setup.events.listeners
    if run.device.type != "cpu":
        batch = move(batch, run.device)
    if listeners[Callback.on_predict_batch_start]:
        batch = setup.events.transform(Callback.on_predict_batch_start, batch)
    with setup.precision.autocast or nullcontext():
        prediction = setup.steps.predict_step(run, batch)
    if listeners[Callback.on_predict_batch_end]:
        training.fire(Callback.on_predict_batch_end, batch, prediction)
    return move(prediction, torch.device("cpu"))
