"""Callbacks written for the Hugging Face Trainer: `(args, state, control, **kwargs)`.

Callbacks of `transformers` run as they are; `TrainerCallback` here has the same events for those
who don't have it installed. Flags of `control` become requests to the run. Settings that a run
doesn't know are given with the callback:

    callbacks=[adapt(EarlyStoppingCallback(), metric_for_best_model="accuracy",
                     greater_is_better=True)]
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trackside.dialects.transformers.run import TrainerControl as TrainerControl
from trackside.dialects.transformers.run import TrainerState as TrainerState
from trackside.dialects.transformers.run import TrainingArguments as TrainingArguments
from trackside.dialects.transformers.run import logs_of, take
from trackside.dialects.translation import (
    Adapter,
    Call,
    Row,
    carried_by,
    in_validation,
    not_supported,
    row,
)
from trackside.dialects.view import ends_step, so_far, validation_name
from trackside.errors import RegistrationError
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run


class TrainerCallback:
    """Base class with their events; override those you need."""

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_predict(
        self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any
    ) -> Any: ...
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...
    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any: ...


# --- what the events get -----------------------------------------------------------------------


def _event(name: str) -> Call:
    """Fires the event `name` without anything of its own."""

    def call(adapter: HuggingFaceAdapter, run: Run, *_: Any) -> None:
        adapter.tell(name, run)

    return call


def _substep_end(adapter: HuggingFaceAdapter, run: Run, batch: Any, output: Any) -> None:
    if not ends_step(run):
        adapter.tell("on_substep_end", run)


def _evaluate(adapter: HuggingFaceAdapter, run: Run, evaluation: Evaluation) -> None:
    shared = adapter.view.shared
    shared["__evaluating__"] = True
    try:
        metrics = logs_of(evaluation.metrics, run, run.progress.steps_completed)
        adapter.tell("on_evaluate", run, metrics=metrics)
    finally:
        shared["__evaluating__"] = False


def _log(adapter: HuggingFaceAdapter, run: Run, record: Any) -> None:
    key = ("log", len(run.history))
    logs = adapter.view.once(key, lambda: logs_of(record.values, run, record.step))
    adapter.tell("on_log", run, logs=logs)


def _save(adapter: HuggingFaceAdapter, run: Run, path: Path) -> None:
    adapter.tell("on_save", run, checkpoint_path=str(path))


def _train_end(adapter: HuggingFaceAdapter, run: Run, *_: Any) -> None:
    """Training has ended: `on_train_end` comes now, or after the checkpoint that is asked for."""
    asked = any(request.kind == "save" for request in run.requests)
    if run.outcome is None and run.saver is not None and asked:
        adapter.waits_for_a_save = True
    else:
        _tell_the_end(adapter, run)


def _saved_at_the_end(adapter: HuggingFaceAdapter, run: Run, *_: Any) -> None:
    if adapter.waits_for_a_save:
        _tell_the_end(adapter, run)


def _tell_the_end(adapter: HuggingFaceAdapter, run: Run, *_: Any) -> None:
    adapter.waits_for_a_save = False
    if adapter.training:
        adapter.training = False
        adapter.tell("on_train_end", run)


TABLE: dict[str, Row] = {
    "on_init_end": row(
        Ours.on_attach, _event("on_init_end"), "when the callback joins: no model is there yet"
    ),
    "on_train_begin": row(Ours.on_fit_start, _event("on_train_begin")),
    "on_epoch_begin": row(Ours.on_epoch_start, _event("on_epoch_begin")),
    "on_step_begin": row(
        Ours.on_step_start, _event("on_step_begin"), "a step: all its batches and the update"
    ),
    "on_substep_end": row(
        Ours.on_batch_end, _substep_end, "after each batch of a step but its last"
    ),
    "on_pre_optimizer_step": row(
        Ours.on_optimizer_step_start, _event("on_pre_optimizer_step"), "gradients are clipped"
    ),
    "on_optimizer_step": row(
        Ours.on_optimizer_step_end, _event("on_optimizer_step"), "gradients are still there"
    ),
    "on_step_end": row(
        Ours.on_step_end, _event("on_step_end"), "`state.global_step` counts the step"
    ),
    "on_log": row(
        Ours.on_log,
        _log,
        "when a record is made; `logs`: `loss` since the last one, `train_loss` of an epoch, "
        "`eval_loss`, `learning_rate`, `epoch`",
    ),
    "on_epoch_end": row(
        Ours.on_train_epoch_end, _event("on_epoch_end"), "before the evaluation, as there"
    ),
    "on_prediction_step": carried_by(
        {
            Ours.on_evaluation_batch_end: _event("on_prediction_step"),
            Ours.on_predict_batch_end: _event("on_prediction_step"),
        },
        "after each batch of an evaluation or prediction",
    ),
    "on_evaluate": in_validation(
        Ours.on_evaluation_end,
        _evaluate,
        "for the data set `val`; `metrics`: `eval_loss` and others, over all ranks, `epoch`",
    ),
    "on_predict": row(
        Ours.on_predict_end,
        lambda a, run: a.tell("on_predict", run, metrics={}),
        "`Trainer.predict`; `metrics` is empty: predictions have no targets",
    ),
    "on_save": row(
        Ours.on_checkpoint_saved,
        _save,
        "a checkpoint of `Checkpoint` is on disk, at its own step; `checkpoint_path` is its folder",
    ),
    "on_train_end": carried_by(
        {
            Ours.on_fit_end: _train_end,
            Ours.on_checkpoint_saved: _saved_at_the_end,
            Ours.on_close: _tell_the_end,
        },
        "after the last checkpoint; also when training fails",
        turn=1,
    ),
    "on_push_begin": not_supported(
        "nothing is pushed to a hub during training; `on_save` has the folder to push"
    ),
}
"""Their events, in the order in which they come."""


class HuggingFaceAdapter(Adapter):
    """Answers for a callback of the Hugging Face Trainer.

    Args:
        foreign: Their callback.
        base: The class that declares their events.
        given: Settings for `args`.
    """

    dialect = "transformers"
    table = TABLE
    view_class = TrainerState

    def __init__(self, foreign: Any, base: type, **given: Any) -> None:
        super().__init__(foreign, base)
        self.args = TrainingArguments(**given)
        self.waits_for_a_save = False
        """Whether training has ended, and its last checkpoint is still to be written."""

    def check(self, run_class: type[Run], others: Iterable[Ours[Any]]) -> None:
        """Refuse the callback that makes their trainer's own decisions."""
        if any(cls.__name__ == "DefaultFlowCallback" for cls in type(self.foreign).__mro__):
            raise RegistrationError(
                "`DefaultFlowCallback` has nothing to do here: the loop logs, evaluates and saves",
                remedy="leave it out; `fit(evaluate_every=...)`, `Checkpoint(every=...)`",
            )

    def on_fit_start(self, run: Run) -> None:
        """Hear of each checkpoint when it is saved, as there: the run waits for it."""
        super().on_fit_start(run)
        self.waits_for_a_save = False
        if run.saver is not None and self.overrides("on_save"):
            run.saver.waits = True

    def show(self, view: Any) -> None:
        """Let `args` look at the run as well."""
        self.args.look_at(view.run)
        view.shared["__args__"] = self.args

    def tell(self, event: str, run: Run, **kwargs: Any) -> None:
        """Fire an event, and take what `control` asks for."""
        shared = self.view.shared
        shared["__args__"] = self.args
        control = shared.setdefault("__control__", TrainerControl())
        parts = self._parts(run)
        hook = getattr(self.foreign, event)
        returned = hook(self.args, self.view, control, **parts, **kwargs)
        if returned is not None:
            control = shared["__control__"] = returned
        if control.should_log:
            control.should_log = False
            if not shared.get("__told__"):
                shared["__told__"] = True
                warnings.warn(
                    "`control.should_log` has no effect: records are made every `log_every` of "
                    "the trainer's settings",
                    stacklevel=2,
                )
        take(control, run)

    def _parts(self, run: Run) -> dict[str, Any]:
        data = so_far(run, "data")
        evaluated, train = data.get(validation_name(run) or ""), data.get("train")
        return {
            "model": run.model if so_far(run, "models") else None,
            "processing_class": None,
            "optimizer": run.optimizer if so_far(run, "optimizers") else None,
            "lr_scheduler": next(iter(so_far(run, "schedulers").values()), None),
            "train_dataloader": train.loader if train is not None else None,
            "eval_dataloader": evaluated.loader if evaluated is not None else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """The attributes that their `state` exports, or what `state_dict` returns."""
        if not self.overrides("state"):
            return super().state_dict()
        exported: dict[str, Any] = dict(self.foreign.state()["attributes"])
        return exported

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the attributes that their `state` exported."""
        if not self.overrides("state"):
            super().load_state_dict(state)
            return
        for name, value in state.items():
            setattr(self.foreign, name, value)


def adapt(callback: Any, **arguments: Any) -> HuggingFaceAdapter:
    """A callback with settings for its `args`.

    Args:
        callback: A callback of transformers.
        arguments: Such as `metric_for_best_model` and `greater_is_better`.

    Raises:
        RegistrationError: It isn't a callback of transformers.
    """
    adapter = adopt(callback, **arguments)
    if adapter is None:
        raise RegistrationError(
            f"{callback!r} is not a callback of transformers",
            expected="an instance of its `TrainerCallback`, or of the one here",
        )
    return adapter


def adopt(callback: object, **given: Any) -> HuggingFaceAdapter | None:
    """The adapter of a callback of transformers, or of a class of them; None for others."""
    kind = callback if isinstance(callback, type) else type(callback)
    for cls in kind.__mro__:
        if cls is TrainerCallback or (cls.__module__, cls.__name__) == THEIRS:
            return HuggingFaceAdapter(callback() if kind is callback else callback, cls, **given)
    return None


THEIRS = ("transformers.trainer_callback", "TrainerCallback")
"""Module and name of their own base class."""

adoption.adopters.append(adopt)
