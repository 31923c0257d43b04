"""Going back to a checkpoint in the middle of a run, on all ranks at the same point.

What is under way is left first (`fit.py`), so that this happens where a resume would: between two
epochs' spans, with nothing half done.
"""

from __future__ import annotations

import logging

from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.leftovers import drop_leftovers
from trackside.loop.resume import restore_newest
from trackside.loop.state import TRAIN, Training, agree
from trackside.progress import TrainingBatch
from trackside.requests import Request
from trackside.run import Rollback

logger = logging.getLogger("trackside")


def roll_back(training: Training) -> None:
    """Put the run back to its newest checkpoint, for all who have asked.

    Raises:
        UsageError: The training data can't be passed over again.
        CheckpointError: There is no checkpoint yet.
    """
    run, position, source = training.run, training.position, training.setup.sources[TRAIN]
    if not source.rewinds:
        raise UsageError(
            f"{run.requests.going_back[0].who!r} asks to go back, and the training data can't",
            expected="data that can be begun again: a Dataset, a DataLoader, a list",
            received=type(source.loader).__name__,
        )
    agree(training)  # whatever other ranks have asked meanwhile was asked of what is dropped now
    asked = [*run.requests.going_back, *run.requests.take("roll_back")]
    run.requests.going_back.clear()
    run.requests.drop_with_steps()
    from_step = run.progress.steps_completed
    if run.saver is not None:
        run.saver.finish_saves(run)
    restore_newest(training, asked[0].reason)
    if training.setup.replicas is None:
        # The clock goes on: what was dropped took its time all the same.
        run.progress.seconds = position.clock()
    else:
        run.progress.seconds = training.setup.agreement.seconds
    done = Rollback(
        from_step,
        run.progress.steps_completed,
        asked[0].reason,
        asked[0].who,
        _all_left_out(asked),
    )
    run.rollbacks.append(done)
    source.leave_out(done.left_out)
    training.begin_schedules()
    drop_leftovers(training)
    logger.warning(
        "went back from step %d to step %d: %s", done.from_step, done.to_step, done.reason
    )
    for batch in done.left_out:
        logger.warning("left out from now on: %s", batch)
    training.fire(Callback.on_roll_back, done)


def too_late(request: Request) -> UsageError:
    """The error for a rollback that is requested after training has ended."""
    return UsageError(
        f"{request.who!r} asks to go back after the end of training: {request.reason}",
        expected="run.roll_back(...) before `on_fit_end`",
    )


def _all_left_out(asked: list[Request]) -> tuple[TrainingBatch, ...]:
    """Batches that the requests exclude, each once, in the order of the data."""
    found = {(b.epoch, b.number, b.places): b for request in asked for b in request.leave_out}
    return tuple(found[place] for place in sorted(found))
