"""The training loop, to be read aloud from `fit` down to `train_batch`.

`fit` is made of epochs, an epoch of steps and evaluations, a step of batches and one update. After
each step and each evaluation comes a safe point, where what was asked for is taken: evaluations,
checkpoints, the end. Nothing here knows a callback by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import chain, islice

from trackside.data.batches import Batch, move
from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch, Origin
from trackside.data.shares import ending_together, samples_of_all
from trackside.distributed.buffers import buffers_of, take_from_rank_zero
from trackside.distributed.replicas import weigh
from trackside.distributed.words import explanation
from trackside.lifecycle.hooks import Callback
from trackside.loop.batch_notes import batch_at, note_batch
from trackside.loop.broken_off import breaking_off, is_broken_off
from trackside.loop.counting import UNKNOWN, count_tokens, settle
from trackside.loop.evaluate import prefetched
from trackside.loop.leftovers import drop_leftovers, parameters_of
from trackside.loop.recording import measured, record
from trackside.loop.replicated import replicated
from trackside.loop.rollback import roll_back, too_late
from trackside.loop.safe_points import fail_before_steps, notice_saves, safe_point
from trackside.loop.snapshot import rank_state, shared_state
from trackside.loop.spans import EpochSpan, FitSpan, Span, TrainEpochSpan
from trackside.loop.state import TRAIN, Ended, Training
from trackside.loop.unlogged import report_unlogged
from trackside.loop.untrained import report_untrained
from trackside.loop.update import backward, update
from trackside.machine import randomness
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.step.accumulation import Parts
from trackside.step.modes import begin_training
from trackside.step.optimization import drop_gradients
from trackside.step.output import Output, as_output, check_loss


def fit(training: Training, take: Callable[[Training], None] | None = None) -> Outcome:
    """Train until the limit is reached or a stop is requested.

    Args:
        training: The run, set up.
        take: Runs the epochs; None takes `epochs`. A scripted run gives its own.
    """
    take = take or epochs
    run, position = training.run, training.position
    position.clock_origin = position.timer() - run.progress.seconds
    training.begin_schedules()
    drop_leftovers(training)
    begin_training(training.setup.modules, tell=run.world.rank == 0)
    if run.saver is not None:
        run.saver.prepare(run, shared_state(training), rank_state(training))
    following = training.setup.following
    with nullcontext() if following is None else following, FitSpan(training):
        report_untrained(training)
        safe_point(training)
        take(training)
        while run.requests.going_back:
            roll_back(training)
            safe_point(training)
            take(training)
    safe_point(training)
    # After the last save, which keeps each rank's own for a run that is prolonged.
    take_from_rank_zero(run.world, buffers_of(training.setup.modules.values()))
    if run.requests.going_back:
        raise too_late(run.requests.going_back[0])
    report_unlogged(training)
    return training.outcome("reached " + _limit_text(run))


def epochs(training: Training) -> None:
    """Train epochs until the limit, an agreed stop, or a return to a checkpoint."""
    run, position = training.run, training.position
    while not run.requests.leaving and (
        position.phase == "evaluating"
        or is_unclosed(training)
        or not run.limit.reached(run.progress)
    ):
        epoch(training)
    if not run.requests.leaving:
        position.pending_evaluations += training.due_evaluations()
        safe_point(training)


def is_unclosed(training: Training) -> bool:
    """Whether steps of a resumed epoch have logged what isn't recorded, though none is to come."""
    position, done = training.position, training.run.progress.steps_completed
    return position.phase == "training" and position.left_at not in (None, done)


def epoch(training: Training) -> None:
    """Pass once over the training data, and do the evaluations that are due after it."""
    with EpochSpan(training) as span:
        fail_before_steps(training)
        report_untrained(training)
        if training.position.phase != "evaluating":
            span.ended = train_epoch(training)
        finish_epoch(training, span)
    leave_epoch(training)


def train_epoch(training: Training) -> Ended:
    """Take steps until the data ends, the limit is reached or a stop is agreed."""
    with TrainEpochSpan(training) as span:
        fail_before_steps(training)
        try:
            span.ended = take_steps(training)
        except Exception as error:
            if (batch := batch_at(error, train_batch)) is not None:
                note_batch(error, "training_step", batch, training.setup)
            raise
    return span.ended


def finish_epoch(training: Training, span: Span) -> None:
    """Evaluate after the training of an epoch, where that is complete, and count the epoch."""
    position, progress = training.position, training.run.progress
    if position.phase != "evaluating":
        if span.ended is not Ended.DATA:
            return
        position.phase, position.ends_epoch = "evaluating", False
        if training.schedules.evaluate_after_epochs.crossed(progress):
            position.pending_evaluations += training.due_evaluations()
    safe_point(training)
    if training.run.requests.going_back or position.pending_evaluations:
        span.ended = Ended.OPEN
        return
    for scheduling in training.setup.schedulings:
        scheduling.after_epoch(position.epoch_metrics, training.setup.sources)
    position.phase = "between"
    progress.epochs_closed += 1


def leave_epoch(training: Training) -> None:
    """Pass the safe point after an epoch that is complete."""
    if training.position.phase == "between":
        training.position.epoch_metrics.clear()
        safe_point(training)


def take_steps(training: Training) -> Ended:
    """Take the steps of an epoch that are still to come; return why there are no more."""
    run, progress, limit = training.run, training.run.progress, training.run.limit
    position, setup = training.position, training.setup
    taken, asked = begin_pass(training), run.requests.asked
    batches = prefetched(training, setup.sources[TRAIN], taken)
    origin, timer = position.clock_origin, position.timer
    take_step = training.take_step or train_step
    now = timer()
    training.schedule_next_check()
    for batch in () if limit.reached(progress) else batches:
        run.data_wait_seconds += timer() - now
        if training.listeners.step_context:
            with setup.events.context("step_context"):
                take_step(training, batch, batches)
        else:
            take_step(training, batch, batches)
        now = timer()
        progress.seconds = now - origin
        if progress.steps_completed >= position.next_check_step or asked:
            after_step(training)
            if (
                run.requests.leaving
                or position.ends_epoch
                or progress.steps_completed == limit.steps
            ):
                break
    if is_broken_off(taken):
        after_step(training)
    if run.requests.going_back:
        return Ended.ROLLBACK
    if position.ends_epoch:
        return Ended.DATA
    at_limit = limit.reached(progress)
    stopped = run.requests.stop is not None
    if setup.sources[TRAIN].completed(
        progress.epoch_batches_completed, stopped=stopped or at_limit
    ):
        return Ended.DATA
    return Ended.STOP if stopped else Ended.LIMIT


def after_step(training: Training) -> None:
    """Do the work between two steps: a record, an evaluation, a request, a saved checkpoint."""
    run, progress, setup = training.run, training.run.progress, training.setup
    if run.step_was_skipped:
        setup.log.leave_out()
        record(training, {"train/skipped_steps": float(len(run.skipped_steps))})
    if training.schedules.log.crossed(progress):
        record(training, {**setup.log.recent(), **measured(training)})
        if setup.precision.loss_scale_is_gone and not run.stopping:
            words = "the loss scale fell to nothing: no step has finite gradients"
            run.stop(words, asked_by="trainer", diverged=True)
    if training.schedules.evaluate_after_steps.crossed(progress):
        training.position.pending_evaluations += training.due_evaluations()
    if setup.replicas is not None:
        progress.seconds = setup.agreement.seconds  # the clock of rank 0 decides
        if setup.noting is not None:
            setup.noting.after_step()
    safe_point(training, wait=False)
    notice_saves(training)
    setup.log.fold()
    training.schedule_next_check()


def train_step(training: Training, batch: LoadedBatch, batches: Iterator[LoadedBatch]) -> None:
    """One optimizer update: `batch`, and as many more of `batches` as are accumulated."""
    run, setup, listeners = training.run, training.setup, training.listeners
    if listeners.step_start:
        setup.events.fire(Callback.on_step_start)
    if run.accumulate == 1:
        train_batch(training, batch, None)
    elif setup.replicas is not None:
        _accumulate_replicas(training, batch, batches)
    else:
        accumulate(training, batch, batches, train_batch)
    if training.listeners.plain_update and not run.requests.asked:
        for optimizer in setup.optimizers:
            optimizer.step()
            drop_gradients(optimizer)
    elif not setup.steps.manual_optimization:
        update(training, setup.optimizers)
    run.progress.steps_completed += 1
    if setup.schedulings and not run.step_was_skipped:
        for scheduling in setup.schedulings:
            scheduling.after_step()
    if training.listeners.step_end:
        setup.events.fire(Callback.on_step_end)


def accumulate(
    training: Training,
    batch: LoadedBatch,
    batches: Iterator[LoadedBatch],
    take: Callable[[Training, LoadedBatch, Parts | None], None],
) -> None:
    """Accumulate several batches into one step; the last step of an epoch may have fewer."""
    run, source, window = training.run, training.setup.sources[TRAIN], training.run.accumulate
    training.setup.log.begin_step()
    done, whole = run.progress.epoch_batches_completed, source.batches_of_pass
    if whole is None or done >= whole:
        # The number of batches left is unknown: they are fetched first.
        fetched = [batch, *islice(batches, window - 1)]
        parts = Parts(len(fetched))
        for each in fetched:
            take(training, each, parts)
    else:
        parts = Parts(min(window, whole - done))
        for each in chain([batch], islice(batches, parts.batches - 1)):
            take(training, each, parts)
        if parts.taken < parts.batches:  # an error in the data must not look like its end
            source.check_whole(run.progress.epoch_batches_completed)
    parts.finish(parameters_of(training))


def _accumulate_replicas(
    training: Training, batch: LoadedBatch, batches: Iterator[LoadedBatch]
) -> None:
    """Accumulate on several ranks: gradients are averaged with the last batch of the step."""
    training.setup.log.begin_step()
    fetched = [batch, *islice(batches, training.run.accumulate - 1)]
    parts = Parts(len(fetched))
    if (replicas := training.setup.replicas) is not None:
        with replicas.no_sync():
            for each in fetched[:-1]:
                train_batch(training, each, parts)
    train_batch(training, fetched[-1], parts)
    parts.finish(parameters_of(training))


def train_batch(training: Training, loaded: LoadedBatch, parts: Parts | None) -> None:
    """Forward and backward of one batch: a step of its own (None), or one part of a step."""
    run, setup, listeners = training.run, training.setup, training.listeners
    batch, (_, samples, share, _, _, _) = loaded
    if not listeners.plain_forward:
        batch = prepared(training, batch, loaded.origin)
    if samples is None:
        samples = counted(batch)
    run.batch_samples = UNKNOWN if samples is None else samples
    several = listeners.several
    if several:
        returned, output = replicated(training, batch)
    else:
        if setup.precision.autocast is None:
            returned = setup.training_step(run, batch)
        else:
            with setup.precision.autocast:
                returned = setup.training_step(run, batch)
        output = returned if type(returned) is Output else as_output(returned)
    loss, _, _, weight, said, tokens = output
    if samples is None or (said is not None and share is None):
        samples = settle(training, setup.sources[TRAIN], batch, samples, said)
    try:
        mean = loss.detach()
        total = None
        if several:
            loss, weight, total = weigh(run.world, share, loss, weight)
        if weight is None:
            weight = samples
        listeners.record_loss((mean, weight))  # kept on the device; `after_step` folds them
        if parts is not None:
            loss = parts.scale(loss, weight if total is None else total)
        if listeners.plain_backward:
            loss.backward()  # type: ignore[no-untyped-call]
        elif not setup.steps.manual_optimization:
            run.output = returned
            backward(training, loss)
            run.output = None  # activations in it are not kept through the update
    except (AttributeError, RuntimeError) as error:
        check_loss(loss)  # says what is wrong with the loss, where it is the loss
        found = explanation(str(error), setup.replicas) if setup.replicas is not None else None
        if found is not None:
            raise found from error
        raise
    progress = run.progress
    progress.batches_completed += 1
    if several:
        samples = samples_of_all(run.world, loaded.origin, samples, said)
    progress.samples_completed += samples
    if tokens is not None:
        count_tokens(training, tokens, share)
    if listeners.batch_end:
        setup.events.fire(Callback.on_batch_end, batch, returned)


def prepared(training: Training, batch: Batch, origin: Origin) -> Batch:
    """The batch as `training_step` gets it: on the device, and as callbacks want it."""
    run, setup = training.run, training.setup
    training.position.share = origin.share
    if setup.noting is not None and origin.drawn:
        setup.noting.batch(TRAIN, origin.number, origin.drawn)
    if setup.following is not None and setup.following.active:
        setup.following.batch(training, batch, origin)
    if run.device.type != "cpu":
        batch = move(batch, run.device)
    if training.listeners.batch_start:
        batch = setup.events.transform(Callback.on_batch_start, batch)
    return batch


def begin_pass(training: Training) -> Iterator[LoadedBatch]:
    """Start or resume the pass; return the batches that are still to come."""
    setup, position, progress = training.setup, training.position, training.run.progress
    source = setup.sources[TRAIN]
    if position.phase == "between":
        position.phase = "training"
        progress.begin_epoch()
        batches = source.begin(progress.epochs_completed)
    else:
        done = progress.epoch_batches_completed
        into = position.begun[1] if position.begun[0] == done else 0
        batches = source.resume(progress.epochs_completed, done, into)
        if position.resumed_random_state is not None:
            randomness.restore(position.resumed_random_state)
            position.resumed_random_state = None
    if setup.replicas is not None:
        setup.replicas.follow_flags(training.run.world, progress.steps_completed)
        batches = ending_together(training.run, source, batches)
    return breaking_off(training.run, source, batches)


def _limit_text(run: Run) -> str:
    if (steps := run.limit.steps) is not None and run.progress.steps_completed >= steps:
        return f"steps={steps}"
    return f"epochs={run.limit.epochs}"
