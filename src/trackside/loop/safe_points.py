"""Between two steps: what is due and what was asked for is taken, in one order, by all ranks."""

from __future__ import annotations

from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.passes import evaluate
from trackside.loop.snapshot import rank_state, shared_state
from trackside.loop.state import Loop, interrupted, poll, stop, take
from trackside.run import Evaluation, Request


def safe_point(loop: Loop, *, wait: bool = True) -> None:
    """Take what is due and what was asked for: evaluations, checkpoints, the end; in that order.

    A return to a checkpoint comes before all of them: what is under way is left at once for it.

    Args:
        loop: The loop.
        wait: Whether to wait for the other ranks; see `poll`.
    """
    poll(loop, wait=wait)
    while loop.agreed or loop.pending:
        loop.back += take(loop, "roll_back")
        if loop.back:
            return
        if take(loop, "settle") and loop.run.saver is not None:
            loop.asked_to_settle = False
            loop.run.saver.wait(loop.run)
        loop.pending += [request.name for request in take(loop, "evaluate")]
        if loop.pending and not interrupted(loop):
            if _evaluate(loop, loop.pending[0]) is not None:
                loop.evaluated_at[loop.pending.pop(0)] = loop.run.progress.steps_completed
        else:
            saves, stops = take(loop, "save"), take(loop, "stop")
            if not saves and not stops:  # interrupted, with evaluations left for the resume
                return
            _save(loop, saves)
            stop(loop, stops)
        poll(loop)


def _evaluate(loop: Loop, name: str) -> Evaluation | None:
    """Evaluate. If that fails, the steps before are saved first: it is repeated after a resume."""
    run = loop.run
    records = len(run.history)
    try:
        return evaluate(loop, name)
    except Exception as error:
        # Other ranks may not have failed, and would be waited for. What has been recorded can't be
        # measured again.
        if run.world.size == 1 and len(run.history) == records:
            _save_before_failing(loop, name, error)
        raise


def _save_before_failing(loop: Loop, name: str, error: Exception) -> None:
    saver = loop.run.saver
    if saver is None or not saver.save_on_failure:
        return
    loop.log.abandon_evaluation()
    request = Request("save", f"the evaluation of {name!r} fails", "trainer")
    try:
        _save(loop, [request])
    except Exception as second:  # the first is the one to be told
        error.add_note(f"the steps before could not be saved: {second}")


def _save(loop: Loop, requests: list[Request]) -> None:
    """One checkpoint for all who asked."""
    run = loop.run
    if not requests:
        return
    if run.saver is None:
        asked = next((r.asked_by for r in requests if r.asked_by != "signal"), None)
        if asked is not None:
            raise UsageError(
                f"{asked!r} asked for a checkpoint, and nothing saves any",
                remedy="add the callback `Checkpoint()`",
            )
        return
    loop.asked_to_settle = False
    shared = shared_state(loop)
    loop.fire(Callback.on_checkpoint_save, shared)
    if loop.agreement.any(any(request.kind == "roll_back" for request in run.requests)):
        return  # whoever asks to go back now has seen that this state is no good
    reason = ", ".join(f"{request.reason} ({request.asked_by})" for request in requests)
    run.saver.save(run, shared, rank_state(loop), reason)
