"""Callbacks written for Dream Trainer: hooks from launch on, typed dependencies, `self.trainer`.

    from trackside.dialects.dream_trainer.adapter import BaseTrainer, Callback, RankZeroCallback

Epochs, steps and batches count from 0. `Callback[A & B]` is checked when the callback joins: each
part has to be one of the classes below that a run provides, or a base of the trainer's `run_class`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Generic, cast, get_args, get_origin

import torch
from torch import nn
from torch.optim import Optimizer
from typing_extensions import TypeVar

from trackside.dialects.dream_trainer.collection import CallbackCollection as CallbackCollection
from trackside.dialects.dream_trainer.view import (
    OVER,
    TRAINING,
    AbstractTrainer,
    BaseTrainer,
    Both,
    DreamTrainer,
    EvalMetricMixin,
    LoggerMixin,
    QuantizeMixin,
    SetupMixin,
    TrainerView,
    WandBLoggerMixin,
    missing_members,
)
from trackside.dialects.translation import (
    Adapter,
    Call,
    Row,
    after_update,
    at_the_end,
    in_validation,
    row,
)
from trackside.dialects.values import as_mapping, renamed
from trackside.dialects.view import ends_step, model_of
from trackside.errors import MissingRequirementError
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run

__all__ = [
    "AbstractTrainer",
    "BaseTrainer",
    "Callback",
    "CallbackCollection",
    "DreamTrainer",
    "EvalMetricMixin",
    "LoggerMixin",
    "QuantizeMixin",
    "RankZeroCallback",
    "SetupMixin",
    "WandBLoggerMixin",
]

Result = dict[str, Any]
T = TypeVar("T", default=BaseTrainer)


class Callback(Generic[T]):
    """Base class with their hooks; override those you need.

    The parameter says what it needs of the trainer: `Callback[EvalMetricMixin & MyMixin]`.
    """

    trainer: T
    """The view of the run, typed as what the callback needs; set when it joins."""

    def pre_launch(self) -> None: ...
    def pre_configure(self) -> None: ...
    def post_configure(self) -> None: ...
    def pre_setup(self) -> None: ...
    def post_setup(self) -> None: ...
    def pre_fit(self) -> None: ...
    def post_fit(self) -> None: ...
    def pre_epoch(self) -> None: ...
    def post_epoch(self) -> None: ...
    def pre_train_epoch(self) -> None: ...
    def post_train_epoch(self, result: Result) -> None: ...
    def pre_train_step(self, batch: Any, batch_idx: int) -> Any: ...
    def post_train_step(self, result: Result, batch_idx: int) -> None: ...
    def pre_optimizer_step(self, model: nn.Module, optimizer: Optimizer) -> None: ...
    def post_optimizer_step(self, model: nn.Module, optimizer: Optimizer) -> None: ...
    def pre_optimizer_zero_grad(self, model: nn.Module, optimizer: Optimizer) -> None: ...
    def post_optimizer_zero_grad(self, model: nn.Module, optimizer: Optimizer) -> None: ...
    def pre_validation_epoch(self) -> None: ...
    def post_validation_epoch(self, result: Result) -> None: ...
    def pre_validation_step(self, batch: Any, batch_idx: int) -> Any: ...
    def post_validation_step(self, result: Result, batch_idx: int) -> None: ...
    def on_interrupt(self) -> None: ...
    def post_load_state_dict(self, loaded_callback_names: set[str]) -> None: ...

    def train_context(self) -> AbstractContextManager[None]:
        """Wraps each training step."""
        raise AssertionError("a context that nobody overrides is not entered")

    def validation_context(self) -> AbstractContextManager[None]:
        """Wraps each batch of the validation."""
        raise AssertionError("a context that nobody overrides is not entered")

    def state_dict(self) -> dict[str, Any]:
        """Return the state that every checkpoint keeps for a resumed run."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""

    def pop_self(self) -> None:
        """Leave the run."""
        callbacks = cast("BaseTrainer", self.trainer).callbacks
        del callbacks[callbacks.name_of(self)]


class RankZeroCallback(Callback[T]):
    """A callback whose hooks run on global rank 0 only."""


# --- what the hooks get ------------------------------------------------------------------------


def _index(run: Run) -> int:
    return run.progress.epoch_batches_completed


def _train_step_end(adapter: DreamAdapter, run: Run, output: Any) -> None:
    key = ("step", run.progress.batches_completed)
    result = adapter.view.once(key, lambda: as_mapping(output))
    with adapter.view.behind(steps=int(ends_step(run))):
        adapter.foreign.post_train_step(result, _index(run) - 1)


def _train_epoch_end(adapter: Adapter, run: Run, metrics: dict[str, float]) -> None:
    own = {name: value for name, value in metrics.items() if name.startswith("train/")}
    key = ("train epoch", adapter.view.epoch)
    adapter.foreign.post_train_epoch(adapter.view.once(key, lambda: renamed(own, {"train/": ""})))


def _validation_step_end(
    adapter: Adapter, run: Run, evaluation: Evaluation, batch: Any, output: Any
) -> None:
    index = evaluation.batches_completed - 1
    key = ("validation step", run.progress.steps_completed, index)
    adapter.foreign.post_validation_step(adapter.view.once(key, lambda: as_mapping(output)), index)


def _validation_epoch_end(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
    def make() -> Result:
        metrics = {**evaluation.metrics, **evaluation.results}
        prefix = f"{evaluation.name}/"
        return {**renamed(metrics, {prefix: ""}), **renamed(metrics, {prefix: "val_"})}

    key = ("validation", run.progress.steps_completed)
    adapter.foreign.post_validation_epoch(adapter.view.once(key, make))


def _after_loading(adapter: DreamAdapter, run: Run) -> None:
    if adapter.loaded is not None:
        adapter.foreign.post_load_state_dict(adapter.loaded)


def _post_fit(adapter: Adapter, run: Run) -> None:
    adapter.view.shared[OVER] = True
    adapter.foreign.post_fit()


def _plain(name: str) -> Any:
    """Calls the hook `name`, which has no arguments."""
    return lambda adapter, run, *_: getattr(adapter.foreign, name)()


def _without_gradients(call: Call) -> Call:
    """`call` as in a validation of theirs, which records no gradients."""

    def calling(*given: Any) -> Any:
        with torch.no_grad():
            return call(*given)

    return calling


def _with_optimizer(name: str) -> Any:
    """Calls the hook `name` with the optimizer and the model that it trains."""

    def call(adapter: DreamAdapter, run: Run, optimizer: Optimizer) -> None:
        with adapter.view.behind(steps=0):
            getattr(adapter.foreign, name)(model_of(run, optimizer), optimizer)

    return call


TABLE: dict[str, Row] = {
    "pre_launch": row(
        Ours.on_launch_start, _plain("pre_launch"), "before the process group exists"
    ),
    "pre_configure": row(Ours.on_configure_start, _plain("pre_configure")),
    "post_configure": row(
        Ours.on_configure_end,
        _plain("post_configure"),
        "model and data are there; optimizers and schedulers are made in the set-up",
    ),
    "pre_setup": row(Ours.on_setup_start, _plain("pre_setup")),
    "post_setup": row(
        Ours.on_setup_end, _plain("post_setup"), "everything is in its place, states are loaded"
    ),
    "pre_fit": row(Ours.on_fit_start, _plain("pre_fit")),
    "pre_epoch": row(Ours.on_epoch_start, _plain("pre_epoch"), "`current_epoch` from 0"),
    "pre_train_epoch": row(Ours.on_train_epoch_start, _plain("pre_train_epoch")),
    "pre_train_step": row(
        Ours.on_batch_start,
        lambda a, run, batch: a.foreign.pre_train_step(batch, _index(run)),
        "a returned batch is the one that is trained on; `batch_idx` is the number of the batch in "
        "the epoch, from 0",
    ),
    "pre_optimizer_step": row(
        Ours.on_optimizer_step_start,
        _with_optimizer("pre_optimizer_step"),
        "gradients are final: accumulated, unscaled, clipped by the trainer",
    ),
    "post_optimizer_step": row(
        Ours.on_optimizer_step_end,
        _with_optimizer("post_optimizer_step"),
        "the weights are updated",
    ),
    "pre_optimizer_zero_grad": row(
        Ours.on_zero_grad_start, _with_optimizer("pre_optimizer_zero_grad")
    ),
    "post_optimizer_zero_grad": row(
        Ours.on_zero_grad_end, _with_optimizer("post_optimizer_zero_grad")
    ),
    "post_train_step": after_update(
        _train_step_end,
        "after the update, where the batch ends a step, and before it is counted in `global_step`; "
        "`result`: `loss`, without gradient, and what else the step returned",
    ),
    "pre_validation_epoch": in_validation(
        Ours.on_evaluation_start,
        _without_gradients(_plain("pre_validation_epoch")),
        "for the data set `val`",
    ),
    "pre_validation_step": in_validation(
        Ours.on_evaluation_batch_start,
        lambda a, run, evaluation, batch: a.foreign.pre_validation_step(
            batch, evaluation.batches_completed
        ),
        "a returned batch is the one that is evaluated; `batch_idx` from 0",
    ),
    "post_validation_step": in_validation(
        Ours.on_evaluation_batch_end, _validation_step_end, "`result`: what the step returned"
    ),
    "post_validation_epoch": in_validation(
        Ours.on_evaluation_end,
        _without_gradients(_validation_epoch_end),
        "`result`: `loss` and other metrics, over all ranks, also as `val_loss`",
    ),
    "post_train_epoch": row(
        Ours.on_epoch_end,
        _train_epoch_end,
        "after the validation, as there; `result`: means over the epoch and all ranks, not those "
        "of the last batch",
    ),
    "post_epoch": row(
        Ours.on_epoch_end, _plain("post_epoch"), "after training and validation", turn=1
    ),
    "post_fit": at_the_end(
        _post_fit, "also when training fails; `current_epoch` counts on, as there"
    ),
    "on_interrupt": row(Ours.on_exception, _plain("on_interrupt"), "an error ends the run"),
    "post_load_state_dict": row(
        Ours.on_setup_end,
        _after_loading,
        "after a resume, when everything is in its place: names of the callbacks whose state was "
        "loaded",
        turn=1,
    ),
    "train_context": row(
        Ours.step_context,
        lambda a, run: a.foreign.train_context(),
        "around each step: all its batches and the update",
    ),
    "validation_context": row(
        Ours.evaluation_context,
        lambda a, run: a.foreign.validation_context(),
        "around each batch of every evaluation",
    ),
}
"""Their hooks, in the order in which they come."""


class DreamAdapter(Adapter):
    """Answers for a callback of Dream Trainer."""

    dialect = "dream_trainer"
    table = TABLE
    view_class = TrainerView
    view: TrainerView
    prefixes = ("pre_", "post_")
    hears_sanity_checks = True

    def __init__(self, foreign: Any, base: type) -> None:
        super().__init__(foreign, base)
        names = {cls.__name__ for cls in type(foreign).__mro__}
        self.rank_zero_only = "RankZeroCallback" in names
        self.loaded: set[str] | None = None
        """Names of the callbacks whose state a checkpoint has; None where nothing was loaded."""

    def check(self, run_class: type[Run], others: Iterable[Ours[Any]]) -> None:
        """Refuse a callback whose parameter names something that the run doesn't have."""
        missing = {
            needed.__name__: members
            for needed in dependencies(type(self.foreign))
            if (members := missing_members(needed, run_class)) is not None
        }
        if not missing:
            return
        parts = [
            f"`{name}`" + (" (" + ", ".join(f"`{m}`" for m in members) + ")" if members else "")
            for name, members in missing.items()
        ]
        raise MissingRequirementError(
            f"`{self.default_name}` needs a trainer with " + " and ".join(parts),
            received=f"a trainer whose callbacks see a `{run_class.__name__}`",
            remedy=f"give the trainer a `run_class`: class MyRun({next(iter(missing))}, Run)",
        )

    def show(self, view: Any) -> None:
        """Set `trainer`, as Dream Trainer does when a callback joins."""
        self.foreign.trainer = view
        self.loaded = None
        if self.base is not Callback:  # their own base looks for a collection of their class
            vars(self.foreign)["pop_self"] = partial(Callback.pop_self, self.foreign)

    def on_checkpoint_load(self, run: Run, state: dict[str, Any]) -> None:
        """Remember whose states the checkpoint has."""
        self.loaded = set(state.get("callbacks", ()))

    def on_fit_start(self, run: Run) -> None:
        """No epoch has begun."""
        super().on_fit_start(run)
        self.view.shared[TRAINING] = False

    def on_train_epoch_start(self, run: Run) -> None:
        """An epoch begins to train."""
        self.view.shared[TRAINING] = True

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        """Remember what `named_metrics` shows; at the end of an epoch, nothing trains after it."""
        self.view.shared["__evaluation__"] = evaluation
        if run.progress.epochs_completed != self.view.epoch:
            self.view.shared[TRAINING] = False


def dependencies(kind: type) -> tuple[type, ...]:
    """The classes that a callback's annotation requires of the trainer."""
    own = kind.__dict__.get("_dependency")
    if own is not None:  # what their own base class makes of its parameter
        return own if isinstance(own, tuple) else (own,)
    for cls in kind.__mro__:
        for base in vars(cls).get("__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, Callback) and arguments:
                needed = arguments[0]
                if not isinstance(needed, TypeVar):
                    return needed.parts if isinstance(needed, Both) else (needed,)
    return ()


def adopt(callback: object) -> DreamAdapter | None:
    """The adapter of a callback of Dream Trainer; None for others."""
    for cls in type(callback).__mro__:
        if cls is Callback or (cls.__module__, cls.__name__) == THEIRS:
            return DreamAdapter(callback, cls)
    return None


THEIRS = ("dream_trainer.callbacks.callback", "Callback")
"""Module and name of their own base class."""

adoption.adopters.append(adopt)
