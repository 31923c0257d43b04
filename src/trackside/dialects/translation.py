"""The table from another framework's hooks to ours, and the adapter of one of its callbacks."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from trackside.dialects.training_metrics import PLACE, TrainingMetrics, functions_of
from trackside.dialects.view import View, ends_step, is_validation, so_far, validation_name
from trackside.errors import RegistrationError, nearest
from trackside.lifecycle.adoption import Adopted
from trackside.lifecycle.hooks import HOOKS, Callback
from trackside.outcome import Outcome
from trackside.run import Evaluation, Run
from trackside.step.modes import evaluation_mode

Call = Callable[..., Any]
"""Called with the adapter, the run and what our hook gets beside it; calls theirs."""

_WITHOUT_GRADIENTS = {
    name for name in HOOKS if name.startswith(("on_evaluation_batch_", "on_predict_batch_"))
}
"""Their trainers call these within a pass without gradients."""


@dataclass(frozen=True, slots=True)
class Row:
    """One hook of theirs in the table of a dialect."""

    carriers: Mapping[str, Call] = field(default_factory=dict)
    """Names of our hooks that carry it, and how each calls it."""
    note: str = ""
    """When it comes, and what its arguments hold."""
    missing: str = ""
    """Why it isn't supported; empty where it is."""
    turn: int = 0
    """Hooks of theirs that one of ours carries come in turns: the second when all callbacks have
    had the first."""
    evaluating: bool = False
    """Whether their trainer leaves the model in evaluation mode there: always, or, where the hook
    follows a validation, after one."""


def row(hook: Call, call: Call, note: str = "", *, turn: int = 0, evaluating: bool = False) -> Row:
    """A hook of theirs that is carried by one of ours.

    Args:
        hook: The method of `Callback`.
        call: Calls theirs.
        note: When it comes, and what its arguments hold.
        turn: See `Row`.
        evaluating: See `Row`.
    """
    return carried_by({hook: call}, note, turn=turn, evaluating=evaluating)


def carried_by(
    carriers: Mapping[Call, Call], note: str = "", *, turn: int = 0, evaluating: bool = False
) -> Row:
    """A hook of theirs that several of ours carry, each in its own case."""
    named = {hook.__name__: call for hook, call in carriers.items()}
    return Row(named, note, turn=turn, evaluating=evaluating)


def at_the_end(call: Call, note: str = "", *, evaluating: bool = False) -> Row:
    """Their hook for the end of training: called when it ends, and also when it fails.

    What was opened at the start of training is closed there.
    """

    def end(adapter: Adapter, run: Run, *_: Any) -> None:
        if adapter.training:
            adapter.training = False
            call(adapter, run)

    carriers: dict[Call, Call] = {Callback.on_fit_end: end, Callback.on_close: end}
    return carried_by(carriers, note, evaluating=evaluating)


def after_update(tell: Call, note: str = "") -> Row:
    """Their hook for the end of a training batch, where it comes after the update.

    Batches that don't end a step are reported at once, the last of a step when the step is done.

    Args:
        tell: Called with the adapter, the run and what the step returned for the batch.
        note: What its arguments hold.
    """

    def done(adapter: Adapter, run: Run, batch: Any, output: Any) -> None:
        adapter.held = output
        if not ends_step(run):
            release(adapter, run)

    def release(adapter: Adapter, run: Run) -> None:
        output, adapter.held = adapter.held, None
        if output is not None:
            tell(adapter, run, output)

    return carried_by({Callback.on_batch_end: done, Callback.on_step_end: release}, note)


def in_validation(hook: Call, call: Call, note: str = "", *, turn: int = 0) -> Row:
    """Their hook of the validation: carried by ours for evaluations, silent in other ones."""

    def only(adapter: Adapter, run: Run, evaluation: Evaluation, *args: Any) -> Any:
        heard = adapter.hears_sanity_checks or not evaluation.sanity
        if heard and is_validation(run, evaluation):
            return call(adapter, run, evaluation, *args)
        return None

    return row(hook, only, note, turn=turn)


def not_supported(because: str) -> Row:
    """A hook of theirs that is never called."""
    return Row(missing=because)


class Adapter(Adopted):
    """Answers our hooks for a callback of theirs.

    It listens to what the callback overrides, and to nothing else: it has the hooks as attributes
    of the instance, made from the rows of the table.

    Args:
        foreign: Their callback.
        base: The class that declares their hooks: a hook is overridden when a class before it in
            the order of inheritance, or the instance, has it.
    """

    table: ClassVar[Mapping[str, Row]]
    """Their hooks by name."""
    view_class: ClassVar[type[View]]
    """The stand-in for their trainer."""
    prefixes: ClassVar[tuple[str, ...]] = ("on_",)
    """How the names of their hooks begin."""
    records_gradients: ClassVar[bool] = True
    """Whether their hooks may compute losses of their own: their trainer leaves gradients on."""
    reads_training_metrics: ClassVar[tuple[str, ...]] = ()
    """Their hooks whose `logs` hold the trainer's metrics over training batches."""
    hears_sanity_checks: ClassVar[bool] = False
    """Whether a check of a few batches before training is a validation there."""
    former: ClassVar[Mapping[str, str]] = {}
    """Hooks that their framework no longer has, and the one that comes then."""
    evaluates_always: ClassVar[bool] = False
    """Whether rows marked `evaluating` hold without a validation before them, too."""

    def __init__(self, foreign: Any, base: type) -> None:
        super().__init__(foreign)
        self.base = base
        self.view = self.view_class()
        self.training = False
        """Whether training has begun and its end has not been reported yet."""
        self.held: Any = None
        """The step's output for a batch whose end hasn't been reported yet."""
        self.metrics: TrainingMetrics | None = None
        """The metrics of training batches, where this callback is the one that computes them."""
        self._calls: dict[str, list[tuple[int, Call]]] = {}
        for name, row in self.rows().items():
            if not self.overrides(name):
                continue
            if row.missing:
                warnings.warn(
                    f"`{self.default_name}.{name}` is never called: {row.missing}", stacklevel=2
                )
            for hook, call in row.carriers.items():
                self._listen(hook, name, row, call)
        for hook in self._calls:
            vars(self)[hook] = self._all_calls(hook)
        self._look_for_misspelt()

    def rows(self) -> Mapping[str, Row]:
        """The rows that hold for this callback."""
        return self.table

    def overrides(self, name: str) -> bool:
        """Whether their callback, or a class before its base, defines `name`."""
        return name in self._own_names()

    def _own_names(self) -> dict[str, object]:
        names: dict[str, object] = {}
        mro = type(self.foreign).__mro__
        before = mro[: mro.index(self.base)] if self.base in mro else mro[:-1]
        for cls in reversed(before):
            names |= vars(cls)
        names |= vars(self.foreign)
        return names

    def _listen(self, hook: str, name: str, row: Row, call: Call) -> None:
        calls = self._calls.setdefault(hook, [])
        if not calls and getattr(type(self), hook) is not getattr(Callback, hook):
            calls.append((0, getattr(self, hook)))
        records = self.records_gradients and hook not in _WITHOUT_GRADIENTS

        def listener(run: Run, *args: Any) -> Any:
            try:
                with torch.set_grad_enabled(records):
                    if not row.evaluating:
                        return call(self, run, *args)
                    with self._evaluation_mode(run):
                        return call(self, run, *args)
            except Exception as error:
                return self.failed(name, error)

        listener.__name__ = f"{hook} ({name})"
        calls.append((row.turn, listener))
        calls.sort(key=lambda one: one[0])

    def _evaluation_mode(self, run: Run) -> AbstractContextManager[None]:
        """The mode in which a trainer of theirs that evaluates leaves the models."""
        evaluated = self.evaluates_always or validation_name(run) is not None
        return evaluation_mode(so_far(run, "models")) if evaluated else nullcontext()

    def _all_calls(self, hook: str) -> Call:
        """A call of all that our `hook` calls, all turns one after the other."""

        def listener(run: Run, *args: Any) -> Any:
            result = None
            for _, call in self._calls[hook]:
                returned = call(run, *args)
                result = returned if returned is not None else result
            return result

        return listener

    def calls(self, hook: str) -> Sequence[tuple[int, Call]]:
        """The calls that our `hook` makes, with the turn of each."""
        return self._calls.get(hook) or super().calls(hook)

    def failed(self, name: str, error: Exception) -> Any:
        """Their hook `name` raised `error`: note where, and raise it again."""
        raise noted(self, name, error)

    def _look_for_misspelt(self) -> None:
        for name, value in self._own_names().items():
            if name in self.table or not name.startswith(self.prefixes) or not callable(value):
                continue
            if name in self.former:
                warnings.warn(
                    f"`{self.default_name}.{name}` is never called: {self.dialect} has no such "
                    f"hook any more. `{self.former[name]}` comes then",
                    stacklevel=2,
                )
                continue
            meant = nearest(name, self.table)
            if meant is not None:
                warnings.warn(
                    f"`{self.default_name}.{name}` isn't a hook of {self.dialect} and is never "
                    f"called. Did you mean `{meant}`?",
                    stacklevel=2,
                )

    # --- our hooks -----------------------------------------------------------------------------

    def on_attach(self, run: Run) -> None:
        """Show the run to their callback."""
        self.training = False
        self.view.join(run)
        self.show(self.view)

    def show(self, view: Any) -> None:
        """Give the view to the callback, where it isn't an argument of their hooks."""

    def on_fit_start(self, run: Run) -> None:
        """Note that training begins: from here on its end is reported."""
        self.training = True

    def on_epoch_start(self, run: Run) -> None:
        """Remember the number of the epoch, which counters of completed work don't show."""
        self.view.begin_epoch()
        if any(map(self.overrides, self.reads_training_metrics)):
            self._compute_training_metrics(run)

    def _compute_training_metrics(self, run: Run) -> None:
        """Compute them from now on, if no other callback does."""
        store = vars(run).setdefault("_dialects", {})
        functions = functions_of(run)
        if not functions or PLACE in store:
            return
        metrics = store[PLACE] = self.metrics = TrainingMetrics(run, functions)

        def begin(run: Run, batch: Any) -> None:
            metrics.begin()

        def end(run: Run, batch: Any, output: Any) -> None:
            metrics.end(run, output)

        # Before all others: what they read at the end of a batch is then there.
        for hook, call in (("on_batch_start", begin), ("on_batch_end", end)):
            self._calls.setdefault(hook, []).insert(0, (-1, call))
            vars(self)[hook] = self._all_calls(hook)
        run.callbacks.refresh()

    def _forget_training_metrics(self, run: Run) -> None:
        if self.metrics is None:
            return
        vars(run)["_dialects"].pop(PLACE, None)
        self.metrics = None
        for hook in ("on_batch_start", "on_batch_end"):
            self._calls[hook] = [one for one in self._calls[hook] if one[0] >= 0]
            if not self._calls[hook]:
                del self._calls[hook], vars(self)[hook]

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Leave the run."""
        self._forget_training_metrics(run)

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The result of their `state_dict`; empty where they don't have one."""
        if not self.overrides("state_dict"):
            return {}
        state: dict[str, Any] | None = self.foreign.state_dict()
        if state is None:
            return {}
        if not isinstance(state, dict):
            raise RegistrationError(
                f"the state of the {self.dialect} callback `{self.default_name}` can't be saved",
                expected="a dict of tensors and JSON-like values from `state_dict`",
                received=type(state).__name__,
            )
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give their state back; with the view too where their method takes it."""
        if not self.overrides("load_state_dict"):
            return
        parameters = inspect.signature(self.foreign.load_state_dict).parameters.values()
        positional = [
            p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if len([p for p in positional if p.default is p.empty]) > 1:
            self.foreign.load_state_dict(state, self.view)
        else:
            self.foreign.load_state_dict(state)


def noted(adapter: Adapter, name: str, error: Exception) -> Exception:
    """`error` with a note that says which hook of which callback it comes from."""
    error.add_note(f"in `{name}` of the {adapter.dialect} callback `{adapter.default_name}`")
    return error
