"""Train, evaluate, predict: the loop that reads aloud.

`fit` is made of epochs, an epoch of steps and evaluations, a step of batches and one update. After
each step and each evaluation comes a safe point, where what was asked for is taken: evaluations,
checkpoints, the end. Nothing here knows a callback by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from time import perf_counter

from torch import Tensor
from torch.optim import Optimizer

from trackside import randomness
from trackside.data.batches import Batch, move, samples_in
from trackside.data.shares import ending_together
from trackside.distributed.replicas import Replicas, weigh
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.broken_off import breaking_off, is_broken_off
from trackside.loop.rollback import roll_back, too_late
from trackside.loop.safe_points import safe_point
from trackside.loop.snapshot import rank_state, shared_state
from trackside.loop.state import (
    TRAIN,
    Loop,
    begin_schedules,
    flush,
    interrupted,
    measured,
    outcome,
    record,
    settle,
)
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.step.optimization import drop_gradients
from trackside.step.output import Output, as_output, check_loss

# --- training ----------------------------------------------------------------------------------


def fit(loop: Loop) -> Outcome:
    """Train until the limit is reached or somebody asks for the end."""
    run = loop.run
    loop.clock_origin = perf_counter() - run.progress.seconds
    begin_schedules(loop)
    for model in run.models.values():
        model.train()
    if run.saver is not None:
        run.saver.prepare(run, shared_state(loop), rank_state(loop))
    loop.fire(Callback.on_fit_start)
    safe_point(loop)
    train(loop)
    while loop.back:
        roll_back(loop)
        safe_point(loop)
        train(loop)
    loop.fire(Callback.on_fit_end)
    flush(loop)
    safe_point(loop)
    if loop.back:
        raise too_late(loop.back[0])
    return outcome(loop, "reached " + _limit_text(run))


def train(loop: Loop) -> None:
    """Epochs until the limit, an agreed stop, or a return to a checkpoint."""
    run = loop.run
    while not loop.leaving and (loop.phase == "evaluating" or not run.limit.reached(run.progress)):
        epoch(loop)
    if not loop.leaving:
        loop.pending += loop.not_evaluated()
        safe_point(loop)


def epoch(loop: Loop) -> None:
    """One pass over the training data, and the evaluations that are due after it."""
    progress = loop.run.progress
    loop.fire(Callback.on_epoch_start)
    if loop.phase != "evaluating":
        complete = train_epoch(loop)
        if loop.back:  # the end of the epoch comes when it has been trained anew
            with loop.run.discarding():
                loop.fire(Callback.on_epoch_end, dict(loop.epoch_metrics))
            return
        if not complete or interrupted(loop):
            loop.fire(Callback.on_epoch_end, dict(loop.epoch_metrics))
            flush(loop)
            return
        loop.phase = "evaluating"
        if loop.evaluate_after_epochs.crossed(progress):
            loop.pending += loop.not_evaluated()
    safe_point(loop)
    if loop.back or loop.pending:
        # Interrupted, or going back: the evaluation, and the end of the epoch, come after that.
        return
    for scheduling in loop.schedulings:
        scheduling.after_epoch(loop.epoch_metrics, loop.sources)
    loop.phase = "between"
    progress.epochs_ended += 1
    loop.fire(Callback.on_epoch_end, dict(loop.epoch_metrics))
    flush(loop)
    loop.epoch_metrics.clear()
    safe_point(loop)


def train_epoch(loop: Loop) -> bool:
    """Take steps until the data ends, the limit is reached or a stop is agreed.

    Returns:
        Whether the data came to its end.
    """
    run, progress, limit = loop.run, loop.run.progress, loop.run.limit
    loop.fire(Callback.on_train_epoch_start)
    batches = breaking_off(loop, loop.sources[TRAIN], _begin_epoch(loop))
    taken = batches
    if loop.arriving is not None:
        batches = loop.arriving(batches, loop.sources[TRAIN])
    origin, now = loop.clock_origin, perf_counter()
    loop.look_ahead()
    for batch in batches:
        run.data_wait_seconds += perf_counter() - now
        if loop.has_step_context:
            with loop.events.context("step_context"):
                train_step(loop, batch, batches)
        else:
            train_step(loop, batch, batches)
        now = perf_counter()
        progress.seconds = now - origin
        if progress.steps_completed >= loop.look_at_step or run.requests:
            after_step(loop)
            if loop.leaving or progress.steps_completed == limit.steps:
                break
    if is_broken_off(taken):
        after_step(loop)
    if loop.back:  # what these steps have logged is dropped with them
        with run.discarding():
            loop.fire(Callback.on_train_epoch_end, loop.log.epoch())
        return False
    complete = loop.sources[TRAIN].completed(
        progress.epoch_batches_completed,
        stopped=loop.stop is not None or progress.steps_completed == limit.steps,
    )
    progress.epochs_completed += complete
    means = loop.log.epoch()
    record(loop, {**means, **loop.log.recent(), **measured(loop)})
    loop.fire(Callback.on_train_epoch_end, means)
    flush(loop)
    return complete


def after_step(loop: Loop) -> None:
    """What may be due between two steps: a record, an evaluation, a request, a saved checkpoint."""
    run, progress = loop.run, loop.run.progress
    if loop.log_due.crossed(progress):
        record(loop, {**loop.log.recent(), **measured(loop)})
        if loop.precision.loss_scale_is_gone and not run.stopping:
            words = "the loss scale has fallen to nothing: every step has gradients not finite"
            run.stop(words, asked_by="trainer", diverged=True)
    if loop.evaluate_after_steps.crossed(progress):
        loop.pending += loop.not_evaluated()
    if loop.spread is not None:
        progress.seconds = loop.agreement.seconds  # the clock of rank 0 decides
    safe_point(loop, wait=False)
    if run.saver is not None and run.saver.needs_attention:
        settle(loop, run.saver)
    loop.log.fold()
    loop.look_ahead()


def train_step(loop: Loop, batch: Batch, batches: Iterator[Batch]) -> None:
    """One optimizer update: `batch`, and as many more as are accumulated."""
    run = loop.run
    if loop.hears_step_start:
        loop.fire(Callback.on_step_start)
    if run.accumulate == 1:
        train_batch(loop, batch, 1)
    elif loop.spread is not None:
        _accumulate_spread(loop, loop.spread, batch, batches)
    else:
        _accumulate(loop, batch, batches)
    if loop.plain_update and not run.requests:
        for optimizer in loop.optimizers:
            optimizer.step()
            drop_gradients(optimizer)
    elif not loop.steps.manual_optimization:
        update(loop, loop.optimizers)
    run.progress.steps_completed += 1
    for scheduling in loop.schedulings:
        scheduling.after_step()
    if loop.hears_step_end:
        loop.fire(Callback.on_step_end)


def _accumulate(loop: Loop, batch: Batch, batches: Iterator[Batch]) -> None:
    """Several batches into one step; the last step of an epoch may have fewer."""
    run, source, window = loop.run, loop.sources[TRAIN], loop.run.accumulate
    done, whole = run.progress.epoch_batches_completed, source.batches_of_pass
    if whole is None or done >= whole:
        # Nobody knows how many are left: fetched first, each batch gets its share of the step.
        fetched = [batch, *islice(batches, window - 1)]
        for batch in fetched:
            train_batch(loop, batch, len(fetched))
        return
    window = min(window, whole - done)
    train_batch(loop, batch, window)
    for _ in range(window - 1):
        # A sentinel, not `for batch in batches`: an error must not look like the end of the data.
        batch = next(batches, loop)
        if batch is loop:
            source.check_whole(run.progress.epoch_batches_completed)
            break
        train_batch(loop, batch, window)


def _accumulate_spread(
    loop: Loop, spread: Replicas, batch: Batch, batches: Iterator[Batch]
) -> None:
    """The same on several ranks: gradients are averaged with the last batch of the step."""
    fetched = [batch, *islice(batches, loop.run.accumulate - 1)]
    with spread.no_sync():
        for each in fetched[:-1]:
            train_batch(loop, each, len(fetched))
    train_batch(loop, fetched[-1], len(fetched))


def train_batch(loop: Loop, batch: Batch, window: int) -> None:
    """Forward and backward of one batch of a step that has `window` of them."""
    run = loop.run
    if loop.moves:
        batch = move(batch, run.device)
    if loop.hears_batch_start:
        batch = loop.events.transform(Callback.on_batch_start, batch)
    share = loop.share = loop.sources[TRAIN].next_share() if loop.spread is not None else None
    run.batch_samples = samples = samples_in(batch) if share is None else share.samples
    if loop.precision.autocast is None:
        returned = loop.training_step(run, batch)
    else:
        with loop.precision.autocast:
            returned = loop.training_step(run, batch)
    loss, _, _, weight = returned if type(returned) is Output else as_output(returned)
    try:
        scaled = loss
        if loop.spread is not None:
            scaled, weight = weigh(run.world, share, loss, weight)
        # Kept on the device; `after_step` folds them.
        loop.keep_loss((loss.detach(), samples if weight is None else weight))
        loss = scaled if window == 1 else scaled / window
        if loop.plain_backward:
            loss.backward()  # type: ignore[no-untyped-call]
        elif not loop.steps.manual_optimization:
            run.output = returned
            backward(loop, loss)
            run.output = None  # activations in it are not kept through the update
    except (AttributeError, RuntimeError):
        check_loss(loss)  # says what is wrong with the loss, where it is the loss
        raise
    progress = run.progress
    progress.batches_completed += 1
    progress.samples_completed += samples if share is None else share.total
    if loop.hears_batch_end:
        loop.fire(Callback.on_batch_end, batch, returned)


def backward(loop: Loop, loss: Tensor) -> None:
    """Add the gradients of `loss`, with everything that can stand around it."""
    loop.fire(Callback.on_backward_start, loss)
    scaler = loop.precision.scaler
    loop.steps.backward(loop.run, loss if scaler is None else scaler.scale(loss))
    loop.fire(Callback.on_backward_end, loss)


def update(loop: Loop, optimizers: Iterable[Optimizer]) -> None:
    """Apply and drop the gradients, with everything that can stand around it."""
    run, scaler = loop.run, loop.precision.scaler
    for optimizer in optimizers:
        if scaler is not None:
            scaler.unscale_(optimizer)
        if loop.options.clip is not None:
            loop.options.clip(optimizer)
        loop.fire(Callback.on_optimizer_step_start, optimizer)
        if not _skips(loop):
            if scaler is None:
                loop.steps.optimizer_step(run, optimizer)
            else:
                scaler.step(optimizer)
                loop.precision.count(optimizer)
        loop.fire(Callback.on_optimizer_step_end, optimizer)
        loop.fire(Callback.on_zero_grad_start, optimizer)
        optimizer.zero_grad()
        loop.fire(Callback.on_zero_grad_end, optimizer)
    if scaler is not None:
        scaler.update()
    run.requests[:] = [request for request in run.requests if request.kind != "skip_step"]


def _skips(loop: Loop) -> bool:
    """Whether the step under way is to be dropped: by all ranks, if one of them asks."""
    asked = [request for request in loop.run.requests if request.kind == "skip_step"]
    if loop.spread is None:
        return bool(asked)
    if any(callback.skips_steps for callback in loop.run.callbacks):
        return loop.agreement.any(bool(asked))
    if asked:
        raise UsageError(
            f"{asked[0].asked_by!r} asks to skip a step, and the other ranks wait for no such wish",
            remedy="set `skips_steps = True` on the callback: ranks then agree before each update",
        )
    return False


def optimize(loop: Loop, loss: Tensor, optimizer: Optimizer) -> None:
    """Backward and update in one, for steps that optimize by hand."""
    if loop.spread is not None:
        loss, _ = weigh(loop.run.world, loop.share, loss)
    backward(loop, loss)
    update(loop, [optimizer])


def _begin_epoch(loop: Loop) -> Iterator[Batch]:
    """The batches of the epoch that are still to come."""
    source, progress = loop.sources[TRAIN], loop.run.progress
    if loop.phase == "between":
        loop.phase = "training"
        progress.begin_epoch()
        batches = source.begin(progress.epochs_completed)
    else:
        batches = source.resume(progress.epochs_completed, progress.epoch_batches_completed)
        if loop.resumed_random_state is not None:
            randomness.restore(loop.resumed_random_state)
            loop.resumed_random_state = None
    if loop.spread is None:
        return batches
    return ending_together(loop.run, source, batches, loop.agreement.any)


def _limit_text(run: Run) -> str:
    limit = run.limit
    if limit.steps is not None and run.progress.steps_completed >= limit.steps:
        return f"steps={limit.steps}"
    return f"epochs={limit.epochs}"
