"""Callbacks written for Lightning: `(trainer, pl_module, ...)`.

Instances of `lightning.pytorch.callbacks.Callback`, and `pytorch_lightning`'s, run as they are,
beside Trackside's own and in one order; `Callback` here has the same hooks for those who don't have
Lightning installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

from trackside.data.counting import counted
from trackside.dialects.lightning.calls import (
    FORMER,
    UNCOUNTED,
    LogOfModule,
    evaluated,
    further_arguments,
    outputs_of,
)
from trackside.dialects.lightning.checkpoint import as_theirs, take
from trackside.dialects.lightning.hooks import Callback as Callback
from trackside.dialects.lightning.predictions import WRITER, PredictLoop
from trackside.dialects.lightning.refused import refuse_built_in
from trackside.dialects.lightning.states import call_of
from trackside.dialects.lightning.trainer import OVER, PREDICT_LOOP, TrainerView
from trackside.dialects.translation import Adapter, Call, Row, carried_by, row
from trackside.dialects.values import as_mapping
from trackside.dialects.view import ends_step, validation_name
from trackside.errors import CheckpointError
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.outcome import Outcome
from trackside.run import Evaluation, Run

# --- what the hooks get ------------------------------------------------------------------------


def _plain(name: str) -> Call:
    """Calls the hook `name` with `trainer` and `pl_module` alone."""

    def call(adapter: LightningAdapter, run: Run, *_: Any) -> None:
        adapter.call(name)

    return call


def _with_one(name: str) -> Call:
    """Calls the hook `name` with what ours got: a loss, an optimizer, an error."""

    def call(adapter: LightningAdapter, run: Run, given: Any) -> None:
        adapter.call(name, given)

    return call


def _staged(name: str) -> Call:
    def call(adapter: LightningAdapter, run: Run, *_: Any) -> None:
        adapter.call(name, call_of(run))

    return call


def _teardown(adapter: LightningAdapter, run: Run, *_: Any) -> None:
    if adapter.is_set_up:
        adapter.is_set_up = False
        adapter.call("teardown", call_of(run))


def _only(during: str, call: Call) -> Call:
    """`call`, in runs of that kind alone."""

    def calling(adapter: LightningAdapter, run: Run, *given: Any) -> None:
        if run.mode == during:
            call(adapter, run, *given)

    return calling


def _train_batch_start(adapter: LightningAdapter, run: Run, batch: Any) -> None:
    adapter.call("on_train_batch_start", batch, run.progress.epoch_batches_completed)


def _train_batch_done(adapter: LightningAdapter, run: Run, batch: Any, output: Any) -> None:
    adapter.held = (adapter.outputs(as_mapping, output), batch)
    if not ends_step(run):
        _release(adapter, run)


def _release(adapter: LightningAdapter, run: Run) -> None:
    held, adapter.held = adapter.held, None
    if held is not None:
        outputs, batch = held
        index = run.progress.epoch_batches_completed - 1
        adapter.call("on_train_batch_end", outputs, batch, index)


def _train_end(adapter: LightningAdapter, run: Run) -> None:
    adapter.view.shared[OVER] = True
    adapter.call("on_train_end")


def _means(run: Run, evaluation: Evaluation, call: str) -> bool:
    """Whether an evaluation is the `validate`, or the `test`, of their hooks."""
    if run.mode == "evaluate":
        return call_of(run) == call
    return call == "validate" and evaluation.name == validation_name(run)


def _evaluating(call: str, name: str, *, batches: str = "") -> Call:
    """Calls the hook `name` of the `validate` or the `test`; `batches`: with what of a batch."""

    def calling(adapter: LightningAdapter, run: Run, evaluation: Evaluation, *given: Any) -> None:
        if not _means(run, evaluation, call):
            return
        if not batches:
            adapter.call(name)
        elif batches == "start":
            adapter.call(name, given[0], evaluation.batches_completed)
        else:
            batch, outputs = given[0], adapter.outputs(evaluated, given[1])
            adapter.call(name, outputs, batch, evaluation.batches_completed - 1)

    return calling


def _sanity(name: str) -> Call:
    def call(adapter: LightningAdapter, run: Run, evaluation: Evaluation) -> None:
        if evaluation.sanity and _means(run, evaluation, "validate"):
            adapter.call(name)

    return call


def _predict_batch(name: str, at: int) -> Call:
    def call(adapter: LightningAdapter, run: Run, batch: Any, *output: Any) -> None:
        index = adapter.predicted
        adapter.predicted += at
        loop = adapter.view.predict_loop
        if adapter.writes_predictions and output and len(loop.predictions) == index:
            loop.add(output[0], counted(batch) or 0)
        adapter.call(name, *output, batch, index)

    return call


def _save(adapter: LightningAdapter, run: Run, state: dict[str, Any]) -> None:
    theirs = as_theirs(run, state)
    given = dict(theirs)
    adapter.call("on_save_checkpoint", theirs)
    take(state, given, theirs)


def _load(adapter: LightningAdapter, run: Run, state: dict[str, Any]) -> None:
    adapter.call("on_load_checkpoint", as_theirs(run, state))


def _evaluation_rows(stage: str, call: str, turn: int) -> dict[str, Row]:
    """The rows of a validation, or of a test, from that turn on."""
    which = "`evaluate(data, name='test')`"
    if call == "validate":
        which = "the first data for validation; `evaluate(data, name='val')`"
    on, start, end = f"on_{stage}", Ours.on_evaluation_start, Ours.on_evaluation_end

    def plain(name: str) -> Call:
        return _evaluating(call, f"{on}_{name}")

    return {
        f"{on}_start": row(start, plain("start"), which, turn=turn),
        f"{on}_epoch_start": row(start, plain("epoch_start"), turn=turn + 1),
        f"{on}_batch_start": row(
            Ours.on_evaluation_batch_start,
            _evaluating(call, f"{on}_batch_start", batches="start"),
            "`batch_idx` from 0; `dataloader_idx` 0",
            turn=turn,
        ),
        f"{on}_batch_end": row(
            Ours.on_evaluation_batch_end,
            _evaluating(call, f"{on}_batch_end", batches="end"),
            "`outputs`: what the step returned",
            turn=turn,
        ),
        f"{on}_epoch_end": row(
            end, plain("epoch_end"), "`callback_metrics` are final, over all ranks", turn=turn
        ),
        f"{on}_end": row(end, plain("end"), turn=turn + 1),
    }


TABLE: dict[str, Row] = {
    "setup": row(
        Ours.on_setup_start,
        _staged("setup"),
        "before the model is moved and optimizers are made; `stage`: `fit`, `validate`, `test` or "
        "`predict`",
    ),
    "on_fit_start": row(
        Ours.on_setup_end,
        _only("fit", _plain("on_fit_start")),
        "everything is in its place, states are loaded",
    ),
    "on_sanity_check_start": row(
        Ours.on_evaluation_start,
        _sanity("on_sanity_check_start"),
        "with the callback `SanityCheck(hooks=True)`",
        turn=-1,
    ),
    **_evaluation_rows("validation", "validate", 0),
    "on_sanity_check_end": row(Ours.on_evaluation_end, _sanity("on_sanity_check_end"), turn=2),
    "on_train_start": row(Ours.on_fit_start, _plain("on_train_start")),
    "on_train_epoch_start": row(
        Ours.on_train_epoch_start,
        _plain("on_train_epoch_start"),
        "`current_epoch` from 0; also where a resumed epoch goes on",
    ),
    "on_train_batch_start": row(
        Ours.on_batch_start,
        _train_batch_start,
        "`batch_idx` is the number of the batch in the epoch, from 0",
    ),
    "on_before_backward": row(
        Ours.on_backward_start,
        _with_one("on_before_backward"),
        "`loss` is divided by the batches of the step",
    ),
    "on_after_backward": row(Ours.on_backward_end, _plain("on_after_backward")),
    "on_before_optimizer_step": row(
        Ours.on_optimizer_step_start,
        _with_one("on_before_optimizer_step"),
        "gradients are final: accumulated, unscaled, clipped",
    ),
    "on_before_zero_grad": row(
        Ours.on_zero_grad_start,
        _with_one("on_before_zero_grad"),
        "after the update, not before the next backward pass",
    ),
    "on_train_batch_end": carried_by(
        {Ours.on_batch_end: _train_batch_done, Ours.on_step_end: _release},
        "after the update, where the batch ends a step; `outputs`: `loss`, without gradient, and "
        "what else the step returned",
    ),
    "on_train_epoch_end": row(
        Ours.on_epoch_end,
        _plain("on_train_epoch_end"),
        "after the validation, as there; `callback_metrics` have the means of the epoch",
    ),
    "on_train_end": row(Ours.on_fit_end, _train_end, "not where training failed, as there"),
    "on_fit_end": row(Ours.on_fit_end, _plain("on_fit_end"), turn=1),
    **_evaluation_rows("test", "test", 10),
    "on_predict_start": row(Ours.on_predict_start, _plain("on_predict_start")),
    "on_predict_epoch_start": row(Ours.on_predict_start, _plain("on_predict_epoch_start"), turn=1),
    "on_predict_batch_start": row(
        Ours.on_predict_batch_start, _predict_batch("on_predict_batch_start", 0)
    ),
    "on_predict_batch_end": row(
        Ours.on_predict_batch_end, _predict_batch("on_predict_batch_end", 1)
    ),
    "on_predict_epoch_end": row(Ours.on_predict_end, _plain("on_predict_epoch_end")),
    "on_predict_end": row(Ours.on_predict_end, _plain("on_predict_end"), turn=1),
    "on_exception": row(
        Ours.on_exception, _with_one("on_exception"), "an error ends the run, or Ctrl-C"
    ),
    "teardown": row(
        Ours.on_close,
        _teardown,
        "once for each `setup`, however the run ends, in reverse order of callbacks",
    ),
    "on_save_checkpoint": row(
        Ours.on_checkpoint_save,
        _save,
        "`checkpoint`: `state_dict`, `epoch`, `global_step`, `optimizer_states` and so on; what "
        "is added is saved, tensors and JSON-like values",
    ),
    "on_load_checkpoint": row(
        Ours.on_checkpoint_load, _load, "the same, before the state is restored"
    ),
    "state_dict": Row(note="in every checkpoint, under `state_key`"),
    "load_state_dict": Row(note="after a resume, before `on_fit_start`"),
}
"""Their hooks, in the order in which they come."""


class LightningAdapter(Adapter):
    """Answers for a callback of Lightning."""

    dialect = "lightning"
    table = TABLE
    view_class = TrainerView
    view: TrainerView
    hears_sanity_checks = True
    former = FORMER

    def __init__(self, foreign: Any, base: type) -> None:
        self.is_set_up = False
        """Whether `setup` was called, or would have been, and `teardown` is still to come."""
        self.predicted = 0
        """Batches predicted in this pass."""
        super().__init__(foreign, base)
        vars(self.view)["package"] = base.__module__.partition(".")[0]
        self.writes_predictions = any(cls.__name__ == WRITER for cls in type(foreign).__mro__)
        self._further: dict[str, tuple[int, ...]] = {}

    def call(self, name: str, *given: Any) -> None:
        """Call their hook `name`; what it returns counts for nothing there."""
        hook, further = getattr(self.foreign, name), self._further.get(name)
        if further is None:
            further = self._further[name] = further_arguments(hook, len(given) + 2)
        with self.view.in_batch() if name in UNCOUNTED else nullcontext():
            hook(self.view, self.view.lightning_module, *given, *further)

    def show(self, view: TrainerView) -> None:
        """Let the callback log by itself, as there: `self.log(...)`."""
        for name in ("log", "log_dict"):
            if not hasattr(type(self.foreign), name):
                vars(self.foreign)[name] = LogOfModule(view, name)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Leave the run."""
        super().on_close(run, outcome)
        for name in ("log", "log_dict"):
            if isinstance(vars(self.foreign).get(name), LogOfModule):
                del vars(self.foreign)[name]

    def outputs(self, read: Callable[[Any], Any], output: Any) -> Any:
        """The outputs of a step for their hooks.

        Args:
            read: From the output of the trainer's step to them.
            output: That output; of a `LightningModule`, its own result counts.
        """
        return outputs_of(self.view, read, output)

    def check(self, run_class: type[Run], others: Iterable[Ours[Any]]) -> None:
        """Refuse built-ins that work on the inside of their loop."""
        refuse_built_in(self.foreign, type(self.foreign).__mro__)

    def on_setup_start(self, run: Run) -> None:
        """Note that `setup` comes: from here on `teardown` follows."""
        self.is_set_up = True

    def on_predict_start(self, run: Run) -> None:
        """Begin to count batches."""
        self.predicted = 0
        self.view.shared[PREDICT_LOOP] = PredictLoop(run)

    @property
    def state_key(self) -> str:
        """Key of their state in a checkpoint."""
        key: str = getattr(self.foreign, "state_key", self.default_name)
        return key

    def state_dict(self) -> dict[str, Any]:
        """Their state by its key; empty where they have none."""
        state = super().state_dict()
        return {self.state_key: state} if state else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give their state back.

        Raises:
            CheckpointError: The state is of a callback with another key.
        """
        if not state:
            return
        if self.state_key not in state:
            raise CheckpointError(
                f"the checkpoint has no state of the lightning callback `{self.state_key}`",
                received=f"one of `{next(iter(state))}`",
                remedy="make it with the same options as when the checkpoint was saved",
            )
        super().load_state_dict(state[self.state_key])


def adopt(callback: object) -> LightningAdapter | None:
    """The adapter of a callback of Lightning, or of a class of them; None for others."""
    kind = callback if isinstance(callback, type) else type(callback)
    for cls in kind.__mro__:
        if cls is Callback or (cls.__name__ == "Callback" and cls.__module__ in THEIRS):
            return LightningAdapter(callback() if kind is callback else callback, cls)
    return None


THEIRS = (
    "lightning.pytorch.callbacks.callback",
    "pytorch_lightning.callbacks.callback",
    "pytorch_lightning.callbacks.base",
)
"""Modules that have their own base class, the last before their version 1.8."""

adoption.adopters.append(adopt)
