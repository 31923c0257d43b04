"""Monitors that nothing logs: whoever watches one does nothing, and would say nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from trackside.loop.state import TRAIN, Setup, Training

logger = logging.getLogger("trackside")


def watchers(setup: Setup) -> Iterator[tuple[str, str]]:
    """Every watcher and the name that it watches: the trainer, callbacks, schedulers."""
    yield from (("trainer", monitor) for monitor in setup.steps.monitors)
    for name, callback in setup.run.callbacks.items():
        yield from ((name, monitor) for monitor in callback.monitors)
    yield from (("scheduler", one.monitor) for one in setup.schedulings if one.monitor)


def report_unlogged(training: Training, evaluated: str | None = None) -> None:
    """Log a warning for each monitor that nobody has logged yet.

    Args:
        training: The run.
        evaluated: Name of the data that was just evaluated for the first time: its monitors are
            looked at. None at the end of the run: all are, but of a run that was stopped before
            its limit only those that could have been logged until then.
    """
    run, reported = training.run, training.position.reported_unlogged
    if run.world.rank > 0 or evaluated in reported:
        return
    reported.add(evaluated or "")
    logged = set(run.history.names)
    for watcher, monitor in watchers(training.setup):
        if monitor in logged or evaluated not in (None, monitor.partition("/")[0]):
            continue
        if evaluated is None and not _could_be_logged(training, monitor):
            continue
        since = "in the whole run" if evaluated is None else f"in the evaluation of {evaluated!r}"
        logger.warning(
            "%r watches %r, and nothing logged it %s: it has no effect; logged are %s",
            watcher,
            monitor,
            since,
            ", ".join(sorted(logged)) or "no values",
        )


def _could_be_logged(training: Training, monitor: str) -> bool:
    """Whether the run went far enough: to its limit, or through the data that has the value."""
    run, name = training.run, monitor.partition("/")[0]
    if not run.requests.leaving:
        return True
    if name in run.data and name != TRAIN:
        return name in training.position.reported_unlogged
    return run.progress.epochs_completed > 0
