"""Callbacks written for nn_handler: hooks with `logs`, and `self.handler`.

    from trackside.dialects.nn_handler.adapter import Callback

Epochs given to hooks count from 0, `logs["epoch"]` from 1. A callback that fails is logged, counted
in the result, and switched off after three failures in a row; training goes on, as there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from trackside.dialects import state_file
from trackside.dialects.translation import (
    Adapter,
    Row,
    after_update,
    at_the_end,
    in_validation,
    row,
)
from trackside.dialects.values import LateValues, loss_of, renamed
from trackside.dialects.view import View, optimizer_of, so_far
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run

Logs = dict[str, Any]


class Callback:
    """Base class with nn_handler's hooks; override those you need and call `super().__init__()`."""

    handler: Handler | None = None
    """The view of the run; set when the callback joins."""

    def __init__(self) -> None:
        self.handler = None

    def set_handler(self, handler: Handler) -> None:
        """Called with the view of the run."""
        self.handler = handler

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_val_begin(self, logs: Logs | None = None) -> None: ...
    def on_val_end(self, logs: Logs | None = None) -> None: ...
    def on_val_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_val_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state that every checkpoint keeps for a resumed run."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


class Handler(View):
    """Stands for the `NNHandler`: what its documents show of it, as a view of the run."""

    dialect = "nn_handler"
    stands_for = "NNHandler"
    instead: ClassVar[dict[str, str]] = {
        "train": "training is under way; to end it: `self.handler.run.stop(reason)`",
        "set_optimizer": "give it to the trainer: `Trainer(optimizer=lambda p: AdamW(p))`",
        "set_loss_fn": "give it to the trainer: `Trainer(loss=...)`",
        "loss_fn": "the trainer has it: `Trainer(loss=...)`",
        "add_metric": "give it to the trainer: `Trainer(metrics={...})`",
        "ema": "use `trackside.callbacks.EMA`",
    }

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.run.model

    @property
    def module(self) -> nn.Module:
        """The model itself, out of what wraps it over several ranks."""
        inner = getattr(self.run.model, "module", None)
        return inner if isinstance(inner, nn.Module) else self.run.model

    @property
    def optimizer(self) -> Any:
        """The optimizer; None where there is none, as in `Trainer.evaluate`."""
        return optimizer_of(self.run)

    @property
    def scheduler(self) -> Any:
        """The learning-rate scheduler, or None."""
        return next(iter(so_far(self.run, "schedulers").values()), None)

    @property
    def train_losses(self) -> list[float]:
        """Mean training loss of each epoch so far, over all ranks."""
        return self.run.history.values("train/loss")

    @property
    def val_losses(self) -> list[float]:
        """Loss of each validation so far, over all ranks."""
        return self.run.history.values("val/loss")

    @property
    def device(self) -> Any:
        """Device of the model."""
        return self.run.device

    @property
    def train_loader(self) -> Any:
        """The batches that are trained on."""
        return self.run.data["train"].loader

    @property
    def val_loader(self) -> Any:
        """The batches of the validation, or None."""
        return self.run.data["val"].loader if "val" in self.run.data else None

    @property
    def _stop_training(self) -> bool:
        return self.stops

    @_stop_training.setter
    def _stop_training(self, wanted: bool) -> None:
        self.set_stop(wanted)

    @property
    def _rank(self) -> int:
        return self.run.world.rank

    @property
    def _world_size(self) -> int:
        return self.run.world.size

    @property
    def _distributed(self) -> bool:
        return self.run.world.size > 1

    def add_callback(self, callback: object) -> None:
        """Add a callback of any kind that Trackside knows; others are refused.

        Raises:
            RegistrationError: It isn't a callback.
        """
        self.run.callbacks.append(callback)

    def save(self, path: str | Path) -> None:
        """Write weights, optimizers, losses and the states of all callbacks to one file."""
        state = state_file.state_of(self.run, self.run.model)
        state["callbacks"] = self.run.callbacks.state_dict()
        state["history"] = self.run.history.state_dict()
        state_file.save_on_rank_zero(self.run, path, state)

    def load(self, path: str | Path) -> None:
        """Restore the weights, optimizer, scheduler and callbacks' states of a saved file.

        Counters and losses stay as they are: they are those of this run.
        """
        state = state_file.read(path)
        state_file.restore(self.run, state)
        self.run.callbacks.load_state_dict(state["callbacks"])


# --- what the hooks get ------------------------------------------------------------------------


def _epoch_logs(adapter: Adapter, run: Run, metrics: dict[str, float]) -> Logs:
    """`loss`, `val_loss`, `lr`, `epoch` (from 1), and other metrics: `val_accuracy`."""

    def make() -> Logs:
        logs: Logs = renamed(metrics, {"train/": "", "val/": "val_"})
        logs["lr"] = run.optimizer.param_groups[0]["lr"]
        logs["epoch"] = adapter.view.epoch + 1
        return logs

    return adapter.view.once(("epoch", adapter.view.epoch), make)


def _train_end(adapter: Adapter, run: Run) -> None:
    latest = {name: run.history.latest(name) for name in run.history.names}
    metrics = {name: v for name, v in latest.items() if name.startswith(("train/", "val/"))}
    logs: Logs = {}
    if metrics:
        logs = renamed(metrics, {"train/": "", "val/": "val_"})
        logs["epoch"] = adapter.view.epoch + 1
    adapter.foreign.on_train_end(logs)


def _batch_begin(adapter: Adapter, run: Run, batch: Any) -> None:
    adapter.foreign.on_train_batch_begin(run.progress.epoch_batches_completed, {})


def _batch_end(adapter: Adapter, run: Run, output: Any) -> None:
    index = run.progress.epoch_batches_completed - 1
    key = ("batch", run.progress.batches_completed)
    logs = adapter.view.once(key, lambda: LateValues(loss=loss_of(output)))
    adapter.foreign.on_train_batch_end(index, logs)


def _val_batch_end(
    adapter: Adapter, run: Run, evaluation: Evaluation, batch: Any, output: Any
) -> None:
    index = evaluation.batches_completed - 1
    key = ("val batch", run.progress.steps_completed, index)
    logs = adapter.view.once(key, lambda: LateValues(loss=loss_of(output)))
    adapter.foreign.on_val_batch_end(index, logs)


def _val_end(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
    key = ("val", run.progress.steps_completed)
    prefixes = {f"{evaluation.name}/": "val_"}
    logs = adapter.view.once(key, lambda: renamed(evaluation.metrics, prefixes))
    adapter.foreign.on_val_end(logs)


TABLE: dict[str, Row] = {
    "on_train_begin": row(
        Ours.on_fit_start, lambda a, run: a.foreign.on_train_begin({}), "`logs` is empty"
    ),
    "on_epoch_begin": row(
        Ours.on_epoch_start,
        lambda a, run: a.foreign.on_epoch_begin(a.view.epoch, {}),
        "`epoch` from 0; `logs` is empty",
    ),
    "on_train_batch_begin": row(
        Ours.on_batch_start,
        _batch_begin,
        "`batch` is the number of the batch in the epoch, from 0; `logs` is empty",
    ),
    "on_train_batch_end": after_update(
        _batch_end,
        "after the update, where the batch ends a step; `logs`: `loss` of this batch on this rank",
    ),
    "on_val_begin": in_validation(
        Ours.on_evaluation_start,
        lambda a, run, evaluation: a.foreign.on_val_begin({}),
        "for the data set `val`; `logs` is empty",
    ),
    "on_val_batch_begin": in_validation(
        Ours.on_evaluation_batch_start,
        lambda a, run, evaluation, batch: a.foreign.on_val_batch_begin(
            evaluation.batches_completed, {}
        ),
        "`batch` from 0; `logs` is empty",
    ),
    "on_val_batch_end": in_validation(
        Ours.on_evaluation_batch_end,
        _val_batch_end,
        "`batch` from 0; `logs`: `loss` of this batch on this rank",
    ),
    "on_val_end": in_validation(
        Ours.on_evaluation_end,
        _val_end,
        "`logs`: `val_loss` and the other metrics, over all ranks",
    ),
    "on_epoch_end": row(
        Ours.on_epoch_end,
        lambda a, run, metrics: a.foreign.on_epoch_end(a.view.epoch, _epoch_logs(a, run, metrics)),
        "after the validation; `epoch` from 0; `logs`: `loss`, `val_loss`, `lr`, `epoch` (from 1) "
        "and other metrics, over all ranks",
        evaluating=True,
    ),
    "on_train_end": at_the_end(
        _train_end,
        "also when training fails; `logs`: the latest values, over all ranks",
        evaluating=True,
    ),
}
"""Their hooks, in the order in which they come."""


class NNHandlerAdapter(Adapter):
    """Answers for a callback of nn_handler."""

    dialect = "nn_handler"
    table = TABLE
    view_class = Handler
    on_error = "warn"

    def __init__(self, foreign: Any, base: type) -> None:
        super().__init__(foreign, base)
        self.show(self.view)

    def show(self, view: Any) -> None:
        """Set `handler`, as nn_handler does when a callback is added."""
        self.foreign.set_handler(view)


def adopt(callback: object) -> NNHandlerAdapter | None:
    """The adapter of a callback of nn_handler; None for others."""
    for cls in type(callback).__mro__:
        if cls is Callback or _is_theirs(cls):
            return NNHandlerAdapter(callback, cls)
    return None


def _is_theirs(cls: type) -> bool:
    place = cls.__module__.removeprefix("src.")
    return cls.__name__ == "Callback" and place.startswith("nn_handler.callbacks")


adoption.adopters.append(adopt)
