"""Records of logged values: in the history, and for the loggers."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.loop.state import Training

logger = logging.getLogger("trackside")


def record(training: Training, values: Mapping[str, float]) -> None:
    """Add `values`, with all axes, to the history, and pass them to the loggers."""
    if not values:
        return
    run, progress, setup = training.run, training.run.progress, training.setup
    if setup.replicas is None:
        progress.seconds = training.position.clock()
    new = Record(
        {name: float(value) for name, value in values.items()},
        progress.steps_completed,
        progress.epochs_completed,
        progress.samples_completed,
        progress.seconds,
        progress.tokens_completed or None,
    )
    run.history.append(new)
    training.position.epoch_metrics.update(
        {name: v for name, v in values.items() if name.partition("/")[0] in setup.sources}
    )
    for scheduling in setup.schedulings:
        scheduling.after_record(new.values)
    training.fire(Callback.on_log, new)


def epoch_means(training: Training) -> dict[str, float]:
    """Means over the steps of an epoch; a name without one is reported, with the reason."""
    run, log = training.run, training.setup.log
    means = log.epoch()
    if log.of_nothing and run.world.is_global_zero:
        skipped = max(len(run.skipped_steps), training.setup.precision.skipped_updates)
        why = (
            f"no step of it made an update ({skipped} were skipped until now)"
            if skipped
            else "its batches weigh nothing"
        )
        logger.warning(
            "epoch %d has no %s: %s", run.progress.epochs_completed, ", ".join(log.of_nothing), why
        )
    return means


def measured(training: Training) -> dict[str, float]:
    """Values that callbacks measure at this point, such as rates; and updates that fp16 skipped."""
    values: dict[str, float] = {}
    skipped = training.setup.precision.skipped_updates
    if skipped > len(training.run.skipped_steps):  # those that the host has not known of
        values["train/skipped_steps"] = float(skipped)
    if training.setup.events.listeners[Callback.on_measure]:
        training.fire(Callback.on_measure, values)
    if training.run.world.size > 1:  # each rank has its own clock, and all decide by these values
        values = training.run.world.gather(values)[0]
    return values


def flush(training: Training) -> None:
    """Record what callbacks have logged since the last record."""
    record(training, training.setup.log.recent())
