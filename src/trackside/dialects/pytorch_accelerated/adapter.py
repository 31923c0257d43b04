"""Callbacks written for pytorch-accelerated: hooks with `trainer`, run history, custom events.

    from trackside.dialects.pytorch_accelerated.adapter import StopTrainingError, TrainerCallback

`run_history.current_epoch` counts from 1, steps count from 0. The end of a training step comes
before the backward pass, as there. Classes may be given for instances; a class that is there
already is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from trackside.dialects.pytorch_accelerated.trainer import RunHistory as RunHistory
from trackside.dialects.pytorch_accelerated.trainer import TrainerView
from trackside.dialects.translation import (
    Adapter,
    Call,
    Row,
    at_the_end,
    carried_by,
    in_validation,
    noted,
    row,
)
from trackside.dialects.values import as_mapping
from trackside.errors import DuplicateCallbackError
from trackside.lifecycle import adoption
from trackside.lifecycle.adoption import original
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run


class StopTrainingError(Exception):
    """Raised by a callback to end training."""


class TrainerCallback:
    """Base class with their events; define those you need, and events of your own."""

    def on_init_end(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_train_epoch_start(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_train_step_start(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_train_step_end(
        self, trainer: Any, batch: Any, batch_output: dict[str, Any], **kwargs: Any
    ) -> None: ...
    def on_train_epoch_end(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_eval_epoch_start(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_eval_step_start(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_eval_step_end(
        self, trainer: Any, batch: Any, batch_output: dict[str, Any], **kwargs: Any
    ) -> None: ...
    def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_training_run_end(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_evaluation_run_start(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_evaluation_run_end(self, trainer: Any, **kwargs: Any) -> None: ...
    def on_stop_training_error(self, trainer: Any, **kwargs: Any) -> None: ...


class CallbackHandler:
    """Calls callbacks of pytorch-accelerated in order.

    Args:
        callbacks: A list of callbacks, or a collection: the callbacks of a run.
    """

    def __init__(self, callbacks: Iterable[Any] | CallbackCollection) -> None:
        if not isinstance(callbacks, CallbackCollection):
            callbacks = CallbackCollection(callbacks)
        self._collection = callbacks

    def add_callback(self, callback: Any) -> None:
        """Add a callback, or a class of callbacks."""
        self._collection.append(callback)

    def add_callbacks(self, callbacks: Iterable[Any]) -> None:
        """Add several callbacks."""
        for callback in callbacks:
            self.add_callback(callback)

    def clear_callbacks(self) -> None:
        """Remove all callbacks of pytorch-accelerated."""
        for adapter in self._adapters():
            del self._collection[self._collection.name_of(adapter)]

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks of pytorch-accelerated, in order."""
        return [adapter.foreign for adapter in self._adapters()]

    @property
    def callback_list(self) -> list[str]:
        """Names of their classes."""
        return [type(callback).__name__ for callback in self.callbacks]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    def call_event(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call the method `event` of every callback that has it; the others are skipped."""
        for adapter in self._adapters():
            adapter.call_event(event, *args, **kwargs)

    def _adapters(self) -> list[AcceleratedAdapter]:
        return [one for one in self._collection if isinstance(one, AcceleratedAdapter)]


class Trainer(TrainerView):
    """Stands for their `Trainer`, as a view of the run."""

    @property
    def callback_handler(self) -> CallbackHandler:
        """Calls the callbacks of the run, custom events too."""
        made = self.trainer_without_run
        return CallbackHandler(self.run.callbacks if made is None else made.callbacks)


# --- what the events get -----------------------------------------------------------------------


def _unless_stopped(call: Call) -> Call:
    """`call`, but not after a stop: the rest of an epoch is passed over, as there."""

    def only(adapter: AcceleratedAdapter, run: Run, *args: Any) -> None:
        if not adapter.stopped:
            call(adapter, run, *args)

    return only


def _remember(adapter: AcceleratedAdapter, run: Run, batch: Any) -> None:
    adapter.batch = batch


def _train_step_end(adapter: AcceleratedAdapter, run: Run, loss: Any) -> None:
    def make() -> dict[str, Any]:
        output = {} if run.output is None else as_mapping(run.output, THEIR_FIELDS)
        return {"batch_size": int(run.batch_samples), **output, "loss": loss.detach()}

    batch_output = adapter.view.once(("step", run.progress.batches_completed), make)
    batch, adapter.batch = adapter.batch, None
    adapter.foreign.on_train_step_end(
        adapter.view,
        batch=batch,
        batch_output=batch_output,
        step=run.progress.epoch_batches_completed,
    )


def _eval_step_end(
    adapter: Adapter, run: Run, evaluation: Evaluation, batch: Any, output: Any
) -> None:
    def make() -> dict[str, Any]:
        return {"batch_size": int(run.batch_samples), **as_mapping(output, THEIR_FIELDS)}

    key = ("eval step", run.progress.steps_completed, evaluation.batches_completed)
    batch_output = adapter.view.once(key, make)
    adapter.foreign.on_eval_step_end(adapter.view, batch=batch, batch_output=batch_output)


def _eval_epoch(name: str) -> Call:
    def call(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
        within = run.mode == "fit" and run.progress.epochs_completed == adapter.view.epoch
        getattr(adapter.foreign, name)(adapter.view, is_intermediate=within)

    return call


def _evaluation_run(name: str) -> Call:
    def call(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
        if run.mode == "evaluate":
            getattr(adapter.foreign, name)(adapter.view)

    return call


def _training_run_end(adapter: AcceleratedAdapter, run: Run) -> None:
    # A stop leaves the number of the epoch in which it came, as there.
    adapter.view.shared["__over__"] = not adapter.stopped
    try:
        adapter.foreign.on_training_run_end(adapter.view)
    finally:
        adapter.view.shared["__over__"] = False


THEIR_FIELDS = {"prediction": "model_outputs"}
"""Their names for what a step returns."""

TABLE: dict[str, Row] = {
    "on_init_end": Row(
        note="`trainer_made` carries it: the trainer has its model, its optimizer as it was given, "
        "and no `run_config`",
    ),
    "on_training_run_start": row(
        Ours.on_fit_start, lambda a, run: a.foreign.on_training_run_start(a.view)
    ),
    "on_train_epoch_start": row(
        Ours.on_train_epoch_start,
        lambda a, run: a.foreign.on_train_epoch_start(a.view),
        "`run_history.current_epoch` from 1",
    ),
    "on_train_step_start": row(
        Ours.on_batch_start,
        lambda a, run, batch: a.foreign.on_train_step_start(a.view),
        "for each batch",
    ),
    "on_train_step_end": carried_by(
        {Ours.on_batch_start: _remember, Ours.on_backward_start: _train_step_end},
        "for each batch, before its backward pass; `batch_output`: `loss` (divided by the batches "
        "of a step), `model_outputs`, `batch_size` and what else the step returned; replacing the "
        "loss in it changes nothing; `step` is the number of the batch in the epoch, from 0",
        turn=1,
    ),
    "on_train_epoch_end": row(
        Ours.on_train_epoch_end,
        _unless_stopped(lambda a, run, metrics: a.foreign.on_train_epoch_end(a.view)),
        "before the evaluation; `train_loss_epoch` is in the run history",
    ),
    "on_evaluation_run_start": row(
        Ours.on_evaluation_start, _evaluation_run("on_evaluation_run_start"), "`Trainer.evaluate`"
    ),
    "on_eval_epoch_start": in_validation(
        Ours.on_evaluation_start,
        _eval_epoch("on_eval_epoch_start"),
        "for the data set `val`; `is_intermediate` within an epoch",
        turn=1,
    ),
    "on_eval_step_start": in_validation(
        Ours.on_evaluation_batch_start,
        lambda a, run, evaluation, batch: a.foreign.on_eval_step_start(a.view),
    ),
    "on_eval_step_end": in_validation(
        Ours.on_evaluation_batch_end,
        _eval_step_end,
        "`batch_output`: `loss`, `model_outputs`, `batch_size` and what else the step returned",
    ),
    "on_eval_epoch_end": in_validation(
        Ours.on_evaluation_end,
        _eval_epoch("on_eval_epoch_end"),
        "`eval_loss_epoch` is in the run history",
    ),
    "on_evaluation_run_end": row(
        Ours.on_evaluation_end,
        _evaluation_run("on_evaluation_run_end"),
        "`Trainer.evaluate`",
        turn=1,
    ),
    "on_training_run_epoch_end": row(
        Ours.on_epoch_end,
        _unless_stopped(lambda a, run, metrics: a.foreign.on_training_run_epoch_end(a.view)),
        "after training and evaluation of the epoch",
        evaluating=True,
    ),
    "on_stop_training_error": row(
        Ours.on_stop,
        lambda a, run, reason: a.foreign.on_stop_training_error(a.view),
        "when a stop is agreed, for any reason",
    ),
    "on_training_run_end": at_the_end(
        _training_run_end,
        "also when training fails; `run_history.current_epoch` counts on, but not after a stop, as "
        "there",
        evaluating=True,
    ),
}
"""Their events, in the order in which they come."""


class AcceleratedAdapter(Adapter):
    """Answers for a callback of pytorch-accelerated."""

    dialect = "pytorch_accelerated"
    table = TABLE
    view_class = Trainer
    # Own events have any name: nothing can be called misspelt.
    prefixes = ()

    def __init__(self, foreign: Any, base: type) -> None:
        super().__init__(foreign, base)
        self.batch: Any = None
        """The batch whose step hasn't been reported yet."""
        self.stopped = False
        """Whether a stop is agreed: the rest of the epoch isn't reported."""
        # On several ranks, skipping costs an agreement before each update: only for those that may.
        self.skips_steps = self._may_stop_in_a_step()

    def _may_stop_in_a_step(self) -> bool:
        """Whether it listens to steps, and its code mentions `StopTrainingError`."""
        if not (self.overrides("on_train_step_start") or self.overrides("on_train_step_end")):
            return False
        codes = [getattr(value, "__code__", None) for value in self._own_names().values()]
        return any("StopTrainingError" in code.co_names for code in codes if code is not None)

    def check(self, run_class: type[Run], others: Iterable[Ours[Any]]) -> None:
        """Refuse a second callback of the same class, as there."""
        kind = type(self.foreign)
        if any(type(original(other)) is kind for other in others):
            raise DuplicateCallbackError(
                f"there is a callback of the class `{kind.__name__}` already",
                expected="one callback of each class, as in pytorch-accelerated",
                remedy="make a subclass for the second one",
            )

    def trainer_made(self, trainer: Any) -> None:
        """Call `on_init_end`, as at the end of their constructor."""
        self.view.meet(trainer)
        if self.overrides("on_init_end"):
            try:
                self.foreign.on_init_end(self.view)
            except Exception as error:
                raise noted(self, "on_init_end", error) from None

    def on_attach(self, run: Run) -> None:
        """A new run: nothing is stopped yet."""
        self.stopped = False
        super().on_attach(run)

    def on_stop(self, run: Run, reason: str) -> None:
        """Stop reporting the rest of the epoch."""
        self.stopped = True

    def failed(self, name: str, error: Exception) -> Any:
        """A `StopTrainingError` is a request to stop; within a step, its update is skipped too.

        On several ranks, it is skipped where the callback's own code raises the error.
        """
        if not _stops(error):
            return super().failed(name, error)
        run = self.view.run
        in_step = name in ("on_train_step_start", "on_train_step_end")
        if in_step and (self.skips_steps or run.world.size == 1):
            run.skip_step(str(error) or type(error).__name__)
        run.stop(str(error) or type(error).__name__)
        return None

    def call_event(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call the method `event`, if the callback has it."""
        # Not getattr: their base class raises another error for a missing attribute.
        if inspect.getattr_static(self.foreign, event, None) is None:
            return
        try:
            getattr(self.foreign, event)(*args, **kwargs)
        except Exception as error:
            self.failed(event, error)


def _stops(error: Exception) -> bool:
    return isinstance(error, StopTrainingError) or any(
        cls.__name__ == "StopTrainingError" and cls.__module__.startswith("pytorch_accelerated.")
        for cls in type(error).__mro__
    )


def adopt(callback: object) -> AcceleratedAdapter | None:
    """The adapter of a callback of pytorch-accelerated, or of a class of them; None for others."""
    kind = callback if isinstance(callback, type) else type(callback)
    for cls in kind.__mro__:
        if cls is TrainerCallback or (cls.__module__, cls.__name__) == THEIRS:
            return AcceleratedAdapter(callback() if kind is callback else callback, cls)
    return None


THEIRS = ("pytorch_accelerated.callbacks", "TrainerCallback")
"""Module and name of their own base class."""

adoption.adopters.append(adopt)
