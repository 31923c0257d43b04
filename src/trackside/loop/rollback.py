"""Going back to a checkpoint in the middle of a run, on all ranks at the same point.

What is under way is left first (`loop.py`), so that this happens where a resume would: between two
epochs' spans, with nothing half done.
"""

from __future__ import annotations

import logging

from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.state import TRAIN, Loop, begin_schedules, poll, take
from trackside.run import Request, Rollback, TrainingBatch

logger = logging.getLogger("trackside")


def roll_back(loop: Loop) -> None:
    """Put the run back to its newest checkpoint, for all who have asked.

    Raises:
        UsageError: The training data can't be passed over again.
        CheckpointError: There is no checkpoint yet.
    """
    run, progress = loop.run, loop.run.progress
    if not loop.sources[TRAIN].rewinds:
        raise UsageError(
            f"{loop.back[0].asked_by!r} asks to go back, and the training data can't",
            expected="data that can be begun anew: a Dataset, a DataLoader, a list",
            received=type(loop.sources[TRAIN].loader).__name__,
        )
    poll(loop)  # whatever other ranks have asked meanwhile was asked of what is dropped now
    asked = [*loop.back, *take(loop, "roll_back")]
    loop.back.clear()
    loop.agreed = [request for request in loop.agreed if outlives(request)]
    from_step = progress.steps_completed
    if run.saver is not None:
        run.saver.wait(run)
    if loop.go_back is None:
        raise AssertionError("a loop without anybody who reads checkpoints can't go back")
    loop.go_back(loop, asked[0].reason)
    if loop.spread is None:  # the clock goes on: what was dropped took its time all the same
        progress.seconds = loop.clock()
    else:
        progress.seconds = loop.agreement.seconds
    done = Rollback(
        from_step,
        progress.steps_completed,
        asked[0].reason,
        asked[0].asked_by,
        _all_left_out(asked),
    )
    run.rollbacks.append(done)
    loop.sources[TRAIN].leave_out(done.left_out)
    begin_schedules(loop)
    logger.warning(
        "went back from step %d to step %d: %s", done.from_step, done.to_step, done.reason
    )
    for batch in done.left_out:
        logger.warning("left out from now on: %s", batch)
    loop.fire(Callback.on_roll_back, done)


def too_late(request: Request) -> UsageError:
    """The error for who asks to go back when training is over."""
    return UsageError(
        f"{request.asked_by!r} asks to go back after the end of training: {request.reason}",
        expected="run.roll_back(...) before `on_fit_end`",
    )


def outlives(request: Request) -> bool:
    """Whether a request still holds when the steps in which it was made are dropped."""
    return request.kind == "stop" or request.asked_by == "signal"


def _all_left_out(asked: list[Request]) -> tuple[TrainingBatch, ...]:
    """What all of them want to leave out, each batch once, in the order of the data."""
    found = {(batch.epoch, batch.number): batch for one in asked for batch in one.leave_out}
    return tuple(found[place] for place in sorted(found))
