"""Between two steps: what is due and what was asked for is taken, in one order, by all ranks."""

from __future__ import annotations

from dataclasses import replace

from trackside.distributed.buffers import buffers_of_rank_zero
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.ended_epochs import ends_epoch
from trackside.loop.evaluate import evaluate
from trackside.loop.snapshot import rank_state, shared_state
from trackside.loop.state import Training, agree, stop
from trackside.requests import SIGNAL, Request
from trackside.run import Evaluation


def safe_point(training: Training, *, wait: bool = True) -> None:
    """Take what is due and what was asked for: evaluations, checkpoints, the end; in that order.

    A return to a checkpoint comes before all of them: what is under way is left at once for it.

    Args:
        training: The run.
        wait: Whether to wait for the other ranks; see `Requests.agree`.
    """
    position, requests = training.position, training.run.requests
    agree(training, wait=wait)
    while True:
        requests.going_back += requests.take("roll_back")
        if requests.going_back:
            return
        _finish_saves(training)
        if failing := requests.take("fail"):
            _fail(training, failing[0])
        if not requests.agreed and not position.pending_evaluations:
            return
        pending = position.pending_evaluations
        for name in (request.name for request in requests.take("evaluate")):
            if training.wants_evaluation(name):
                pending.append(name)
        if pending and not requests.interrupted:
            if _evaluate(training, pending[0]) is not None:
                position.evaluated_at[pending.pop(0)] = training.run.progress.steps_completed
        elif ends_epoch(training, in_epoch=not wait):
            return  # checkpoints and the end come at the end of the epoch
        else:
            saves, stops = requests.take("save"), requests.take("stop")
            if not saves and not stops:  # interrupted, with evaluations left for the resume
                return
            _save(training, saves)
            stop(training, stops)
        agree(training)


def _evaluate(training: Training, name: str) -> Evaluation | None:
    """Evaluate. If that fails, the steps before are saved first: it is repeated after a resume."""
    run = training.run
    records = len(run.history)
    try:
        return evaluate(training, name)
    except Exception as error:
        # Other ranks may not have failed, and would be waited for. What has been recorded can't be
        # measured again.
        if run.world.size == 1 and len(run.history) == records:
            _save_before_failing(training, name, error)
        raise


def _save_before_failing(training: Training, name: str, error: Exception) -> None:
    saver = training.run.saver
    if saver is None or not saver.save_on_failure:
        return
    training.setup.log.abandon_evaluation()
    request = Request("save", f"the evaluation of {name!r} fails", "trainer")
    try:
        _save(training, [request])
    except Exception as second:  # the first is the one to report
        error.add_note(f"the steps before could not be saved: {second}")


# --- a callback has failed ---------------------------------------------------------------------


def fail_before_steps(training: Training) -> None:
    """End a run of one process in which a callback failed when its epoch began."""
    if training.setup.replicas is None and training.setup.events.failures.first is not None:
        safe_point(training)


def _fail(training: Training, failing: Request) -> None:
    """Save the run, whose state is whole here, and raise the error of a callback.

    Raises:
        Exception: On the rank of the callback, its error.
        PeerFailed: On the others.
    """
    run, setup, failures = training.run, training.setup, training.setup.events.failures
    saver = run.saver
    unworthy = setup.agreement.any(not failures.is_worth_saving)
    if saver is not None and saver.save_on_failure and not unworthy:
        try:
            _save(training, [*run.requests.take("save"), replace(failing, kind="save")])
            saver.finish_saves(run)
        except Exception as second:
            if failures.first is None:
                raise
            failures.first.add_note(f"the run could not be saved: {second}")
    failures.raise_first()
    setup.agreement.any(False)  # which the failed rank doesn't reach: the watch says why


# --- checkpoints -------------------------------------------------------------------------------


def _save(training: Training, requests: list[Request]) -> None:
    """Save one checkpoint for all requests."""
    run = training.run
    if not requests:
        return
    if run.saver is None:
        asked = next((r.who for r in requests if r.asked_by != SIGNAL), None)
        if asked is not None:
            raise UsageError(
                f"{asked!r} asked for a checkpoint, and nothing saves any",
                remedy="add the callback `Checkpoint()`",
            )
        return
    training.position.notified = False
    own = rank_state(training)
    with buffers_of_rank_zero(run.world, training.setup.modules):
        if training.setup.noting is not None:
            training.setup.noting.models()
            training.setup.noting.used("the model that is saved", parameters=False)
        training.setup.agreement.compare_now()
        shared = shared_state(training)
        training.fire(Callback.on_checkpoint_save, shared)
        vetoed = any(request.kind == "roll_back" for request in run.requests.asked)
        if training.setup.agreement.any(vetoed):
            return  # a rollback requested by `on_checkpoint_save`: the state is not worth saving
        reason = ", ".join(f"{request.reason} ({request.who})" for request in requests)
        run.saver.save(run, shared, own, reason)
    if training.setup.following is not None:
        training.setup.following.begin(training, shared)


def notice_saves(training: Training) -> None:
    """See what has become of checkpoints; on several ranks, at the same step on each.

    They are written by threads, which end at other times on other ranks: rank 0
    announces its end with the next exchange, and each then waits for its own.
    """
    run, position = training.run, training.position
    if run.saver is None or not run.saver.needs_attention:
        return
    if training.setup.replicas is None:
        run.saver.poll(run)
    elif run.world.is_global_zero and not run.saver.is_writing and not position.notified:
        position.notified = True
        training.setup.agreement.notify()


def _finish_saves(training: Training) -> None:
    """Wait for the checkpoint that rank 0 has announced, on every rank."""
    run = training.run
    if training.setup.agreement.take_notice() and run.saver is not None:
        training.position.notified = False
        run.saver.finish_saves(run)
