"""THE table of hooks: class `Callback`, one documented method each.

The dispatcher, the loop's diagram in the docs, function-style callbacks, the check for unknown
hooks, the tests' grammar and the dialects' maps are all derived from this class body. A hook is
written down here and nowhere else: its order is the order of the lines, its place is its `inside`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal

from typing_extensions import TypeVar

from trackside.lifecycle.description import described, remember
from trackside.run import Evaluation, Mode, Rollback, Run
from trackside.vocabulary.option_types import holds_options

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from trackside.history import Record
    from trackside.outcome import Outcome

R = TypeVar("R", default=Run, contravariant=True)
F = TypeVar("F", bound=Callable[..., Any])
OnError = Literal["raise", "warn"]
"""Effect of an error in a hook of a callback; see `Callback.on_error`."""
Effect = Literal["observes", "steers", "changes"]
"""Effect of a callback on training; see `Callback.effect`."""

Batch = Any
"""An item of the loader: `(inputs, target)`, a mapping of tensors, or any value for the steps."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Declaration of a hook beside its signature."""

    name: str
    inside: tuple[str | None, ...]
    """Spans (named by their opening hook) it may fire in directly; None is outside of all.
    Empty: anywhere."""
    custom: bool = False

    @property
    def opens(self) -> bool:
        """Whether it opens a span that `closed_by` closes."""
        return self.name.endswith("_start")

    @property
    def closed_by(self) -> str:
        """The hook that closes the span this one opens."""
        return self.name.removesuffix("_start") + "_end"

    @property
    def closes(self) -> str | None:
        """The hook whose span this one closes, if it closes one."""
        opening = self.name.removesuffix("_end") + "_start"
        return opening if self.name.endswith("_end") else None


ANYWHERE: tuple[str | None, ...] = ()


def hook(*inside: str | None) -> Callable[[F], F]:
    """Declare a method as a hook that fires directly inside the spans `inside`."""

    def declare(method: F) -> F:
        method.__hook__ = Hook(method.__name__, inside)  # type: ignore[attr-defined]
        return method

    return declare


CUSTOM_EVENTS: dict[str, list[Callable[..., Any]]] = {}
"""Events declared with `@event` so far, by name."""


def event(method: F) -> F:
    """Declare a custom event: a method of a `Callback` subclass, or of a protocol.

    Fire it with `run.emit(MyEvents.on_x, ...)`; callbacks without such a method are skipped.

    Example:
        >>> class MyEvents(Callback):
        ...     @event
        ...     def on_sample_drawn(self, run, image): ...
    """
    method.__hook__ = Hook(method.__name__, ANYWHERE, custom=True)  # type: ignore[attr-defined]
    CUSTOM_EVENTS.setdefault(method.__name__, []).append(method)
    return method


class Callback(Generic[R]):
    """Something that accompanies a run. Override the hooks you need; the others cost nothing.

    Hooks run without gradients. Raise `StopTraining`, or call `run.stop(reason)`, to end training.
    The options below may be set on the class or on an instance.
    """

    name: str | None = None
    """Name of the instance: key of its state in checkpoints. None: its class in snake case."""
    runs_after: tuple[type[Callback[Any]] | str, ...] = ()
    """Callbacks (classes or names) that come before this one in every hook."""
    runs_before: tuple[type[Callback[Any]] | str, ...] = ()
    """Callbacks (classes or names) that come after this one in every hook."""
    requires: tuple[type[Callback[Any]], ...] = ()
    """Callbacks without which this one is refused."""
    runs_in: tuple[Mode, ...] = ("fit", "evaluate", "predict")
    """Kinds of runs that it takes part in; in others none of its hooks is called."""
    rank_zero_only: bool = False
    """Whether its hooks run on global rank 0 only."""
    on_error: OnError = "raise"
    """`"raise"`: an error in a hook ends the run, once it is saved where its state is whole.
    `"warn"`: it is logged once and counted, and training goes on (for loggers and pictures)."""
    switch_off_after: int = 3
    """Failures in a row of one hook after which a callback that warns is switched off."""

    calls_collectives: bool = False
    """Whether its hooks call collectives. On several ranks an error in one ends the run, whatever
    `on_error` says: the other ranks would wait for it."""
    effect: Effect | None = None
    """Its effect on training. `"observes"`: none, the weights are the same without it.
    `"steers"`: asks for a stop, a save or an evaluation, or sets options of optimizers.
    `"changes"`: batches, gradients, weights, modes or random numbers. None: it doesn't say."""

    monitors: tuple[str, ...] = ()
    """Names of the logged values that it watches; a name that nothing logs is refused."""
    logs: tuple[str, ...] = ()
    """Names that it logs; `grad/*` stands for any name that begins so."""
    writes: tuple[str, ...] = ()
    """Names of its attributes that hold what it writes: files, or folders, below the run's folder.
    Two callbacks that write to the same one are refused before the first step."""
    skips_steps: bool = False
    """Whether it may call `run.skip_step`. On several ranks these then agree before each update."""
    settable: tuple[str, ...] = ()
    """Options that `trackside ask RUN set NAME.OPTION=VALUE` may change while the run goes on, with
    those of its base classes. Numbers, choices and schedules: never a command, file or address."""
    unused_hooks: frozenset[str] = frozenset()
    """Hooks that the class overrides and this instance has no need of: they are never called."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Hold the options of a callback that comes with Trackside to their types, for its repr."""
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls) and cls.__module__.startswith("trackside."):
            holds_options(cls, keep=remember)

    def __repr__(self) -> str:
        return described(self)

    def rehearse_in(self, folder: Path) -> bool:
        """A rehearsal begins: keep what it writes elsewhere to `folder`, which is then removed.

        Returns whether to take part in it: whoever would tell people doesn't.
        """
        return True

    def trainer_made(self, trainer: Any) -> None:
        """The trainer is made, with all its callbacks; there is no run, and nothing is loaded yet.

        For what can be refused at once. A callback that is added later hears of it when the next
        run begins. With `rank_zero_only`, on rank 0 only.
        """

    # --- joining and preparing -----------------------------------------------------------------

    @hook(None)
    def on_attach(self, run: R) -> None:
        """The callback joined the run. Whatever happens from here on, `on_close` follows."""

    @hook(None)
    def on_launch_start(self, run: R) -> None:
        """Before the process group exists."""

    @hook(None)
    def on_configure_start(self, run: R) -> None:
        """Model, optimizers, schedulers and loaders are about to be built."""

    @hook("on_configure_start")
    def on_configure_end(self, run: R) -> None:
        """Model, optimizers, schedulers and loaders exist."""

    @hook(None)
    def on_setup_start(self, run: R) -> None:
        """The model is about to be moved, sharded, compiled and resumed."""

    @hook("on_setup_start")
    def on_optimizers_ready(self, run: R) -> None:
        """Before schedulers are made, and states loaded, for optimizers and models; `fit` only."""

    @hook("on_setup_start")
    def on_setup_end(self, run: R) -> None:
        """Everything is in its place, checkpoints are loaded."""

    # --- training ------------------------------------------------------------------------------

    @hook(None)
    def on_fit_start(self, run: R) -> None:
        """Training is about to begin."""

    @hook("on_fit_start")
    def on_epoch_start(self, run: R) -> None:
        """An epoch begins: its training and its evaluations. Also when resumed in its middle."""

    @hook("on_epoch_start")
    def on_train_epoch_start(self, run: R) -> None:
        """The pass over the training data begins, or goes on when resumed in its middle."""

    @hook("on_train_epoch_start")
    def on_step_start(self, run: R) -> None:
        """A step begins: `accumulate` batches and one optimizer update."""

    @hook("on_step_start")
    def on_batch_start(self, run: R, batch: Batch) -> Batch | None:
        """A batch is on its device. A returned batch replaces it."""

    @hook("on_batch_start")
    def on_backward_start(self, run: R, loss: Tensor) -> None:
        """The loss of the batch is known, shape `()`, divided by the batches of the step."""

    @hook("on_backward_start")
    def on_backward_end(self, run: R, loss: Tensor) -> None:
        """The gradients of this batch have been added to `.grad`."""

    @hook("on_batch_start")
    def on_batch_end(self, run: R, batch: Batch, output: Any) -> None:
        """Forward and backward of the batch are done; `output` is what `training_step` returned."""

    @hook("on_step_start", "on_batch_start")
    def on_optimizer_step_start(self, run: R, optimizer: Optimizer) -> None:
        """Gradients are final: accumulated, unscaled, averaged over ranks. Clip, inspect, skip."""

    @hook("on_optimizer_step_start")
    def on_optimizer_step_end(self, run: R, optimizer: Optimizer) -> None:
        """The weights are updated; the gradients are still there."""

    @hook("on_step_start", "on_batch_start")
    def on_zero_grad_start(self, run: R, optimizer: Optimizer) -> None:
        """The gradients are about to be dropped."""

    @hook("on_zero_grad_start")
    def on_zero_grad_end(self, run: R, optimizer: Optimizer) -> None:
        """The gradients are gone."""

    @hook("on_step_start")
    def on_step_end(self, run: R) -> None:
        """The step is done and counted in `run.progress`."""

    @hook("on_train_epoch_start")
    def on_train_epoch_end(self, run: R, metrics: dict[str, float]) -> None:
        """The pass over the training data is over; `metrics` are its weighted means."""

    # --- evaluation ----------------------------------------------------------------------------

    @hook("on_train_epoch_start", "on_epoch_start", "on_fit_start", None)
    def on_evaluation_start(self, run: R, evaluation: Evaluation) -> None:
        """A pass over a named data set begins; `evaluation.name` says which."""

    @hook("on_evaluation_start")
    def on_evaluation_batch_start(
        self, run: R, evaluation: Evaluation, batch: Batch
    ) -> Batch | None:
        """A batch of the evaluation is on its device. A returned batch replaces it."""

    @hook("on_evaluation_batch_start")
    def on_evaluation_batch_end(
        self, run: R, evaluation: Evaluation, batch: Batch, output: Any
    ) -> None:
        """A batch is evaluated; `output` is what `evaluation_step` returned."""

    @hook("on_evaluation_start")
    def on_evaluation_end(self, run: R, evaluation: Evaluation) -> None:
        """`evaluation.metrics` are final, over all ranks."""

    @hook("on_epoch_start")
    def on_epoch_end(self, run: R, metrics: dict[str, float]) -> None:
        """The epoch is over and counted; `metrics` are those of its training and evaluations."""

    @hook("on_fit_start")
    def on_fit_end(self, run: R) -> None:
        """Training is over: completed, stopped or interrupted. Not called when it failed."""

    # --- prediction ----------------------------------------------------------------------------

    @hook(None)
    def on_predict_start(self, run: R) -> None:
        """A pass over data without targets begins."""

    @hook("on_predict_start")
    def on_predict_batch_start(self, run: R, batch: Batch) -> Batch | None:
        """A batch is on its device. A returned batch replaces it."""

    @hook("on_predict_batch_start")
    def on_predict_batch_end(self, run: R, batch: Batch, output: Any) -> None:
        """A batch is predicted; `output` is what `predict_step` returned."""

    @hook("on_predict_start")
    def on_predict_end(self, run: R) -> None:
        """All predictions are made."""

    # --- anywhere ------------------------------------------------------------------------------

    @hook()
    def on_measure(self, run: R, values: dict[str, float]) -> None:
        """A record of training is about to be made; put numbers for it into `values`.

        Comes at the logging interval and at the end of the pass over the training data. For what
        is measured rather than averaged: rates, sizes, learning rates. No hook per step is needed.
        """

    @hook()
    def on_log(self, run: R, record: Record) -> None:
        """A record was added to `run.history`. Loggers live here."""

    @hook()
    def on_stop(self, run: R, reason: str) -> None:
        """A request to stop was agreed; the run ends at this point."""

    @hook()
    def on_roll_back(self, run: R, rollback: Rollback) -> None:
        """The run went back to a checkpoint: all is as it was then, only `run.rollbacks` isn't.

        `load_state_dict` has been called, `on_fit_start` is not. For what was made from the run as
        it stood: schedules that wait, files of records, references into optimizers.
        """

    @hook()
    def on_exception(self, run: R, error: BaseException) -> None:
        """An error ends the run; `on_close` follows."""

    @hook()
    def on_checkpoint_save(self, run: R, state: dict[str, Any]) -> None:
        """A checkpoint is about to be written; add to `state` under your own key."""

    @hook()
    def on_checkpoint_saved(self, run: R, checkpoint: Any) -> None:
        """A checkpoint is whole on disk; `checkpoint` is its path."""

    @hook()
    def on_checkpoint_load(self, run: R, state: dict[str, Any]) -> None:
        """A checkpoint has been read and verified; `state` is about to be restored."""

    @hook()
    def on_close(self, run: R, outcome: Outcome) -> None:
        """The end, exactly once per `on_attach`, in reverse order. Close what was opened."""

    # --- contexts and state --------------------------------------------------------------------

    def step_context(self, run: R) -> AbstractContextManager[None]:
        """Wraps each step, from `on_step_start` to `on_step_end`."""
        return nullcontext()

    def evaluation_context(self, run: R) -> AbstractContextManager[None]:
        """Wraps each batch of an evaluation."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Return the state for an exact resume: tensors and JSON-like values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


HOOKS: dict[str, Hook] = {
    name: method.__hook__ for name, method in vars(Callback).items() if hasattr(method, "__hook__")
}
"""All built-in hooks by name, in the order of the lifecycle."""

CONTEXTS: tuple[str, ...] = ("step_context", "evaluation_context")


def is_overridden(callback: Callback[Any], name: str) -> bool:
    """Whether `callback` (class or instance) overrides the hook `name`, and uses it."""
    if name in callback.unused_hooks:
        return False
    if name in vars(callback):
        return True
    # This is asked for each hook of each callback, and most are not overridden.
    if getattr(type(callback), name, None) is getattr(Callback, name, None):
        return False
    own = next((vars(cls)[name] for cls in type(callback).__mro__ if name in vars(cls)), None)
    return own is not None and own is not vars(Callback).get(name) and not _only_declares(own, name)


def _only_declares(method: object, name: str) -> bool:
    """Whether `method` declares a custom event, as opposed to handling one."""
    info: Hook | None = getattr(method, "__hook__", None)
    return info is not None and info.custom and info.name == name


class RankZeroCallback(Callback[R]):
    """A callback whose hooks run on global rank 0 only."""

    rank_zero_only = True
