"""The engine around a loop that it doesn't run: one method for each part of such a loop.

`loop/fit.py` calls the same functions in the same order; here the caller comes back for each part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from trackside.by_hand.firing import BACKWARD, ZERO_GRAD, refuse_unfired
from trackside.by_hand.steps import leave_update_out
from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.broken_off import is_broken_off
from trackside.loop.counting import UNKNOWN, count_tokens, settle
from trackside.loop.fit import after_step, begin_pass, finish_epoch, is_unclosed, leave_epoch
from trackside.loop.rollback import roll_back, too_late
from trackside.loop.safe_points import fail_before_steps, safe_point
from trackside.loop.snapshot import rank_state, shared_state
from trackside.loop.spans import EpochSpan, FitSpan, TrainEpochSpan
from trackside.loop.state import TRAIN, Ended, Training
from trackside.loop.unlogged import report_unlogged
from trackside.outcome import Outcome
from trackside.progress import SkippedStep
from trackside.step.output import as_output


class Engine:
    """The engine of one run whose loop is written elsewhere.

    Args:
        training: The run, set up.
        watch_updates: Whether updates are heard from the optimizers; otherwise the caller says
            them, and all that a loop by hand has a word for.
    """

    def __init__(self, training: Training, *, watch_updates: bool = True) -> None:
        self.training = training
        self._watches = watch_updates
        self.said: set[str] = set() if watch_updates else {BACKWARD, ZERO_GRAD}
        """The words of `firing.py` that the loop has said."""
        self._fit: FitSpan | None = None
        self._epoch: EpochSpan | None = None
        self._pass: TrainEpochSpan | None = None
        self._batches: Iterator[LoadedBatch] = iter(())
        self._step: ExitStack | None = None
        self._batch: LoadedBatch | None = None
        self._updated = False
        self._hooks = ExitStack()

    # --- the whole -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Training begins: fire its hook, and pass the first safe point."""
        training, run, position = self.training, self.training.run, self.training.position
        position.clock_origin = position.timer() - run.progress.seconds
        training.begin_schedules()
        if run.saver is not None:
            run.saver.prepare(run, shared_state(training), rank_state(training))
        if self._watches:
            self._watch_updates()
        self._fit = FitSpan(training)
        self._fit.begin()
        safe_point(training)

    def end(self, completed: str) -> Outcome:
        """Training is over: end what is still open, save what was asked for.

        Args:
            completed: The reason of an outcome that nobody asked for.
        """
        training, run = self.training, self.training.run
        self.end_epoch(goes_on=False)
        if self._fit is not None:
            self._fit.end()
            self._fit = None
        safe_point(training)
        if run.requests.going_back:
            raise too_late(run.requests.going_back[0])
        report_unlogged(training)
        return training.outcome(completed)

    def release(self) -> None:
        """Take the engine's hooks off the optimizers. After an error as well."""
        self._hooks.close()
        self._leave_step()

    # --- epochs --------------------------------------------------------------------------------

    def begin_epoch(self) -> int | None:
        """Begin the next epoch, or go on with the one that was resumed; its number, from 0.

        Returns:
            None where there is none to come: the limit is reached, or a stop was agreed.
        """
        training, run = self.training, self.training.run
        self.end_epoch(goes_on=True)
        while run.requests.going_back:
            roll_back(training)
            safe_point(training)
        if training.position.phase == "evaluating":  # the body of this epoch was done when saved
            self.open_epoch()
            self.end_epoch(goes_on=True)
        over = run.limit.reached(run.progress) and not is_unclosed(training)
        if over or run.requests.leaving:
            return None
        self.open_epoch()
        return run.progress.epochs_completed

    def open_epoch(self) -> None:
        """Begin an epoch, whatever the limit: the caller may count them."""
        self._epoch = EpochSpan(self.training)
        self._epoch.begin()
        fail_before_steps(self.training)

    def end_epoch(self, *, goes_on: bool) -> None:
        """End the epoch under way, if there is one.

        Args:
            goes_on: Whether another may follow: a pass that the loop has left is then complete, as
                far as the loop wants it; otherwise it may go on after a resume.
        """
        if self._epoch is None:
            return
        self.end_pass(complete=goes_on or self.training.position.ends_epoch)
        epoch, self._epoch = self._epoch, None
        if goes_on and self.training.position.phase == "between":
            raise UsageError(
                f"epoch {self.training.run.progress.epochs_completed} was left without a batch",
                remedy="take its batches in the loop: `for batch in run.batches(): ...`",
            )
        finish_epoch(self.training, epoch)
        epoch.end()
        leave_epoch(self.training)

    # --- the pass over the training data -------------------------------------------------------

    def begin_pass(self) -> None:
        """Begin the pass of the epoch under way, or go on with it."""
        if self._epoch is None or self._pass is not None:
            raise UsageError(
                "the batches of an epoch are passed over once",
                remedy="one `for batch in run.batches()` in each `for epoch in run.epochs(...)`",
            )
        self._pass = TrainEpochSpan(self.training)
        self._pass.begin()
        fail_before_steps(self.training)

    def foreign_batches(self) -> None:
        """The batches of the pass come from elsewhere: nothing is taken from `run.data`."""
        self.training.position.phase = "training"
        self.training.run.progress.begin_epoch()

    def own_batches(self) -> None:
        """Take the batches of the pass from `run.data`: at their place, as a resume wants it."""
        self._batches = begin_pass(self.training)

    def next_batch(self) -> Any:
        """The next batch of the pass, from `own_batches`.

        Raises:
            StopIteration: There are no more: they are over, or a stop or return was agreed.
        """
        run, position = self.training.run, self.training.position
        self._check_reported()
        if self._pass is None:
            raise StopIteration
        if run.requests.leaving or position.ends_epoch or run.limit.reached(run.progress):
            self.end_pass(complete=position.ends_epoch)
            raise StopIteration
        before = position.timer()
        batch = next(self._batches, None)
        run.data_wait_seconds += position.timer() - before
        if batch is None:
            if is_broken_off(self._batches):
                after_step(self.training)
            self.end_pass(complete=False, data_ended=run.requests.stop is None)
            raise StopIteration
        return self.begin_batch(batch)

    def end_pass(self, *, complete: bool, data_ended: bool = False) -> None:
        """End the pass under way, if there is one.

        Args:
            complete: Whether the epoch is over wherever the pass was left.
            data_ended: The data has no more batches.
        """
        if self._pass is None:
            return
        run, source = self.training.run, self.training.setup.sources[TRAIN]
        leaving = bool(run.requests.leaving)
        if self._step is not None and (data_ended or (complete and not leaving)):
            raise UsageError(
                "the pass over the data ended within a step: batches since the last "
                "`run.step_done(...)` were not applied",
                remedy="make the update after the last batch as well",
            )
        self._leave_step()
        span, self._pass, self._batch = self._pass, None, None
        done = run.progress.epoch_batches_completed
        if run.requests.going_back:
            span.ended = Ended.ROLLBACK
        elif (complete and not leaving) or source.completed(done, stopped=not data_ended):
            span.ended = Ended.DATA
        else:
            span.ended = Ended.STOP if leaving else Ended.LIMIT
        span.end()
        if self._epoch is not None:
            self._epoch.ended = span.ended

    # --- steps and batches ---------------------------------------------------------------------

    def begin_step(self) -> None:
        """A step begins, where none is under way."""
        if self._step is None:
            self._updated = False
            events = self.training.setup.events
            self._step = ExitStack()
            self._step.enter_context(events.context("step_context"))
            events.fire(Callback.on_step_start)

    def count_batch(self, samples: int) -> None:
        """Count a batch of which nothing else is known."""
        self.training.run.progress.batches_completed += 1
        self.training.run.progress.samples_completed += samples

    def begin_batch(self, batch: LoadedBatch) -> Any:
        """A batch is there, and a step where none is under way; what callbacks make of it."""
        setup = self.training.setup
        self.begin_step()
        self._batch = batch
        known = batch.origin.samples
        samples = counted(batch.data) if known is None else known
        self.training.run.batch_samples = UNKNOWN if samples is None else samples
        data = batch.data
        if setup.events.has_listeners(Callback.on_batch_start):
            data = setup.events.transform(Callback.on_batch_start, data)
        if data is not batch.data or samples != known:
            self._batch = LoadedBatch(data, batch.origin._replace(samples=samples))
        return data

    def end_batch(self, returned: Any) -> None:
        """Forward and backward of the batch are done.

        Args:
            returned: Its loss, or an `Output`; None where the loop has left the batch out.
        """
        setup, run = self.training.setup, self.training.run
        if self._batch is None:
            raise UsageError(
                "a batch was reported as done, and none was taken",
                remedy="report each batch once: `run.batch_done(loss)`, or `run.step_done(loss)` "
                "after the update",
            )
        (data, origin), self._batch = self._batch, None
        output = None if returned is None else as_output(returned)
        said = None if output is None else output.samples
        samples = origin.samples
        if samples is None or said is not None:
            samples = settle(self.training, setup.sources[TRAIN], data, samples, said)
        if output is not None:
            weight = samples if output.weight is None else output.weight
            setup.record_loss((output.loss.detach(), weight))
        run.progress.batches_completed += 1
        run.progress.samples_completed += samples
        if output is not None and output.tokens is not None:
            count_tokens(self.training, output.tokens)
        setup.events.fire(Callback.on_batch_end, data, returned)

    def end_step(self, returned: Any) -> None:
        """The update is made: count the step, and do what is due between two steps.

        Args:
            returned: As for `end_batch`; not looked at where that was called for the last batch.
        """
        training, run, position = self.training, self.training.run, self.training.position
        if self._step is None:
            raise UsageError(
                "a step was reported as done, and none was begun",
                remedy="call `run.step_done(loss)` in `for batch in run.batches()`, once a step",
            )
        if self._batch is not None:
            self.end_batch(returned)
        for word in (BACKWARD, ZERO_GRAD):
            if word not in self.said:
                refuse_unfired(training, word)
        self._note_skipped()
        run.progress.steps_completed += 1
        training.fire(Callback.on_step_end)
        self._leave_step()
        run.progress.seconds = position.clock()
        if run.progress.steps_completed >= position.next_check_step or run.requests.asked:
            after_step(training)

    @property
    def in_a_step(self) -> bool:
        """Whether a step is under way."""
        return self._step is not None

    def _leave_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.close()

    def _check_reported(self) -> None:
        if self._batch is not None:
            raise UsageError(
                "the next batch was asked for, and the last one was not reported as done",
                expected="`run.step_done(loss)` after each update",
                remedy="where several batches make a step, report the others as well: "
                "`run.batch_done(loss)`; for one that was left out, `run.batch_done(None)`",
            )

    # --- backward and update -------------------------------------------------------------------

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, between the hooks for it."""
        self.said.add(BACKWARD)
        self.training.fire(Callback.on_backward_start, loss)
        self.training.setup.steps.backward(self.training.run, loss)
        self.training.fire(Callback.on_backward_end, loss)

    def zero_grad(self) -> None:
        """Drop the gradients of all optimizers, between the hooks for it."""
        if self._step is None:
            raise UsageError(
                "`run.zero_grad()` was called outside of a step",
                expected="between the batch and `run.step_done(loss)`",
            )
        self.said.add(ZERO_GRAD)
        for optimizer in self.training.setup.optimizers:
            self.training.fire(Callback.on_zero_grad_start, optimizer)
            optimizer.zero_grad()
            self.training.fire(Callback.on_zero_grad_end, optimizer)

    def _watch_updates(self) -> None:
        for optimizer in self.training.setup.optimizers:
            before = optimizer.register_step_pre_hook(self._before_update)
            after = optimizer.register_step_post_hook(self._after_update)
            self._hooks.callback(before.remove)
            self._hooks.callback(after.remove)

    def _before_update(self, optimizer: Optimizer, args: object, options: object) -> None:
        if self._step is None:  # of no step of this loop
            return
        if BACKWARD not in self.said:
            refuse_unfired(self.training, BACKWARD)
        self.before_update(optimizer)

    def before_update(self, optimizer: Optimizer) -> None:
        """Gradients are final; where a callback skips the step, they are dropped."""
        self._updated = True
        self.training.fire(Callback.on_optimizer_step_start, optimizer)
        requests = self.training.run.requests
        if requests.asked and requests.agree_on_skip(self.training.setup.agreement):
            leave_update_out(optimizer)

    def _after_update(self, optimizer: Optimizer, args: object, options: object) -> None:
        if self._step is not None:
            self.after_update(optimizer)

    def after_update(self, optimizer: Optimizer) -> None:
        """The weights are updated."""
        self.training.fire(Callback.on_optimizer_step_end, optimizer)

    def _note_skipped(self) -> None:
        run, step = self.training.run, self.training.run.progress.steps_completed + 1
        late = next((one for one in run.requests.asked if one.kind == "skip_step"), None)
        if late is not None and (self._updated or not self.training.setup.optimizers):
            raise UsageError(
                f"{late.who!r} asks to skip a step whose update is made",
                remedy="in a loop by hand, call `run.batch_done(loss)` before `optimizer.step()`",
            )
        if late is not None:  # a loss scaler has left the update out
            run.requests.agree_on_skip(self.training.setup.agreement)
        asked = run.requests.take("skip_step")
        if asked:
            run.skipped_steps += [SkippedStep(step, one.reason, one.who) for one in asked]
            self.training.position.next_check_step = step
