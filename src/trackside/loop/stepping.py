"""The frame of a step that isn't computed the eager way, as `train_step` has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.optim import Optimizer

from trackside.data.loaded import LoadedBatch
from trackside.lifecycle.hooks import Callback
from trackside.loop.fit import accumulate
from trackside.loop.state import Training
from trackside.loop.update import update
from trackside.run import Run
from trackside.step.accumulation import Parts
from trackside.step.optimization import drop_gradients

SEEN = 3
"""Steps of a form that go the eager way before one is captured: what torch makes at first (states
of optimizers, plans of libraries) is there then."""


def begin_step(training: Training) -> None:
    """Fire `on_step_start`, where a callback listens."""
    if training.listeners.step_start:
        training.setup.events.fire(Callback.on_step_start)


def take_parts(
    training: Training,
    batch: LoadedBatch,
    batches: Iterator[LoadedBatch],
    take: Callable[[Training, LoadedBatch, Parts | None], None],
    apply: Callable[[Run, Optimizer], None],
) -> None:
    """Compute a step: its batches by `take`, the update of each optimizer by `apply`."""
    run, setup = training.run, training.setup
    if run.accumulate == 1:
        take(training, batch, None)
    else:
        accumulate(training, batch, batches, take)
    if training.listeners.plain_update and not run.requests.asked:
        for optimizer in setup.optimizers:
            apply(run, optimizer)
            drop_gradients(optimizer)
    else:
        update(training, setup.optimizers, apply)


def end_step(training: Training) -> None:
    """Count the step, move the schedulers, fire `on_step_end`."""
    run, setup = training.run, training.setup
    run.progress.steps_completed += 1
    if setup.schedulings and not run.step_was_skipped:
        for scheduling in setup.schedulings:
            scheduling.after_step()
    if training.listeners.step_end:
        setup.events.fire(Callback.on_step_end)
