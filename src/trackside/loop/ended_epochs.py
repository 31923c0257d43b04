"""Epochs that are ended on request: the rest of their data is left out."""

from __future__ import annotations

import logging

from trackside.data.source import DataSource
from trackside.data.stateful import Stateful
from trackside.errors import UsageError
from trackside.loop.state import TRAIN, Training
from trackside.progress import EndedEpoch

logger = logging.getLogger("trackside")


def ends_epoch(training: Training, *, in_epoch: bool) -> bool:
    """Whether the epoch under way ends here, on a request that all ranks have agreed on.

    Args:
        training: The run, at a safe point.
        in_epoch: Whether steps of the epoch may still be to come. Otherwise the request comes too
            late, or too early, and is dropped with a warning.

    Raises:
        UsageError: The training data can't be left and begun again.
    """
    run, position = training.run, training.position
    asked = run.requests.take("end_epoch")
    if not asked:
        return False
    first = asked[0]
    if not in_epoch:
        logger.warning(
            "%s asked for the end of the epoch where no step of it was to come: %s",
            first.who,
            first.reason,
        )
        return False
    _check(training.setup.sources[TRAIN], first.who)
    progress = run.progress
    if training.setup.sources[TRAIN].completed(progress.epoch_batches_completed, stopped=True):
        logger.info("%s asked for the end of an epoch at its last step", first.who)
        return False
    ended = EndedEpoch(progress.epochs_completed, progress.steps_completed, first.reason, first.who)
    run.ended_epochs.append(ended)
    position.ends_epoch = True
    logger.info("epoch %d ends at step %d: %s", ended.epoch + 1, ended.step, ended.reason)
    return True


def _check(source: DataSource, who: str) -> None:
    """Refuse data whose next pass would go on with the rest of this one."""
    if source.rewinds and not isinstance(source.loader, Stateful):
        return
    raise UsageError(
        f"{who!r} asks for the end of the epoch, and the next one would go on with its rest",
        expected="training data that begins again: a Dataset, a DataLoader, a list",
        received=type(source.loader).__name__,
    )
