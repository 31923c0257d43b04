"""Callbacks written for nn_handler: hooks with `logs`, and `self.handler`.

    from trackside.dialects.nn_handler.adapter import Callback

Epochs given to hooks count from 0, `logs["epoch"]` from 1. A callback that fails is logged, counted
in the result, and switched off after three failures in a row; training goes on, as there.
"""

from __future__ import annotations

from typing import Any

from trackside.data.counting import counted
from trackside.dialects.nn_handler.view import Handler as Handler
from trackside.dialects.training_metrics import metrics_of, of_batch
from trackside.dialects.translation import (
    Adapter,
    Row,
    after_update,
    at_the_end,
    in_validation,
    row,
)
from trackside.dialects.values import LateValues, loss_of, renamed
from trackside.dialects.view import epochs_of, optimizer_of, prefixes
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


# --- what the hooks get ------------------------------------------------------------------------


def _train_begin(adapter: Adapter, run: Run) -> None:
    logs = {"start_epoch": run.progress.epochs_closed, "total_epochs": epochs_of(run)}
    adapter.foreign.on_train_begin({**logs, "world_size": run.world.size})


def _epoch_begin(adapter: NNHandlerAdapter, run: Run) -> None:
    adapter.epoch_seconds = run.progress.seconds
    epoch = adapter.view.epoch
    logs = adapter.view.once(("epoch begins", epoch), lambda: {"epoch": epoch + 1})
    adapter.foreign.on_epoch_begin(epoch, logs)


def _so_far(adapter: Adapter, run: Run) -> Logs:
    """`epoch`, and the means of the epoch's training."""
    latest = {n: run.history.latest(n) for n in run.history.names if n.startswith("train/")}
    return {"epoch": adapter.view.epoch + 1, **renamed(latest, {"train/": ""})}


def _epoch_logs(adapter: NNHandlerAdapter, run: Run, metrics: dict[str, float]) -> Logs:
    """`loss`, `val_loss`, `lr`, `epoch` (from 1), and other metrics: `val_accuracy`."""

    def make() -> Logs:
        logs: Logs = renamed(metrics, prefixes(run, "", "val_"))
        rates = [group["lr"] for group in run.optimizer.param_groups]
        logs |= {"lr": rates[0], **{f"lr_group_{n}": rate for n, rate in enumerate(rates)}}
        logs["epoch"] = adapter.view.epoch + 1
        logs["epoch_time"] = run.progress.seconds - adapter.epoch_seconds
        adapter.view.shared["__logs__"] = logs
        return logs

    return adapter.view.once(("epoch", adapter.view.epoch), make)


def _epoch_end(adapter: NNHandlerAdapter, run: Run, metrics: dict[str, float]) -> None:
    adapter.foreign.on_epoch_end(adapter.view.epoch, _epoch_logs(adapter, run, metrics))


def _train_end(adapter: Adapter, run: Run) -> None:
    known = prefixes(run, "", "val_")
    latest = {n: run.history.latest(n) for n in run.history.names if n.startswith(tuple(known))}
    logs: Logs = {**renamed(latest, known), **adapter.view.shared.get("__logs__", {})}
    if latest:
        optimizer = optimizer_of(run)
        rate = {} if optimizer is None else {"lr": optimizer.param_groups[0]["lr"]}
        epoch = adapter.view.epoch + 1
        logs = {**rate, **logs, "epoch": epoch, "final_epoch": epoch}
    adapter.foreign.on_train_end({**logs, "world_size": run.world.size})


def _size(batch: Any) -> int:
    samples = counted(batch)
    return -1 if samples is None else int(samples)


def _batch_begin(adapter: Adapter, run: Run, batch: Any) -> None:
    index = run.progress.epoch_batches_completed
    key = ("batch begins", run.progress.batches_completed)
    logs = adapter.view.once(key, lambda: {"batch": index, "size": _size(batch)})
    adapter.foreign.on_train_batch_begin(index, logs)


def _batch_end(adapter: Adapter, run: Run, output: Any) -> None:
    index = run.progress.epoch_batches_completed - 1

    def make() -> Logs:
        known = {"batch": index, "size": int(run.batch_samples), "loss": loss_of(output)}
        return LateValues(**known, **of_batch(run))

    key = ("batch", run.progress.batches_completed)
    adapter.foreign.on_train_batch_end(index, adapter.view.once(key, make))


def _val_begin(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
    key = ("val begins", run.progress.steps_completed)
    adapter.foreign.on_val_begin(adapter.view.once(key, lambda: _so_far(adapter, run)))


def _val_batch_begin(adapter: Adapter, run: Run, evaluation: Evaluation, batch: Any) -> None:
    index = evaluation.batches_completed
    key = ("val batch begins", run.progress.steps_completed, index)
    logs = adapter.view.once(key, lambda: {"batch": index, "size": _size(batch)})
    adapter.foreign.on_val_batch_begin(index, logs)


def _val_batch_end(
    adapter: Adapter, run: Run, evaluation: Evaluation, batch: Any, output: Any
) -> None:
    index = evaluation.batches_completed - 1

    def make() -> Logs:
        known = {"batch": index, "size": int(run.batch_samples), "val_loss": loss_of(output)}
        metrics = metrics_of(run, output)
        return LateValues(**known, **{f"val_{name}": value for name, value in metrics.items()})

    key = ("val batch", run.progress.steps_completed, index)
    adapter.foreign.on_val_batch_end(index, adapter.view.once(key, make))


def _val_end(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
    def make() -> Logs:
        return {
            **_so_far(adapter, run),
            **renamed(evaluation.metrics, {f"{evaluation.name}/": "val_"}),
        }

    key = ("val", run.progress.steps_completed)
    adapter.foreign.on_val_end(adapter.view.once(key, make))


TABLE: dict[str, Row] = {
    "on_train_begin": row(
        Ours.on_fit_start, _train_begin, "`logs`: `start_epoch`, `total_epochs`, `world_size`"
    ),
    "on_epoch_begin": row(
        Ours.on_epoch_start, _epoch_begin, "`epoch` from 0; `logs`: `epoch` from 1"
    ),
    "on_train_batch_begin": row(
        Ours.on_batch_start,
        _batch_begin,
        "`batch` is the number of the batch in the epoch, from 0; `logs`: `batch`, `size` in "
        "samples",
    ),
    "on_train_batch_end": after_update(
        _batch_end,
        "after the update, where the batch ends a step; `logs`: `batch`, `size`, `loss` and "
        "metrics of this batch on this rank",
    ),
    "on_val_begin": in_validation(
        Ours.on_evaluation_start,
        _val_begin,
        "for the data set `val`; `logs`: `epoch`, and `loss` and metrics of the training before",
    ),
    "on_val_batch_begin": in_validation(
        Ours.on_evaluation_batch_start,
        _val_batch_begin,
        "`batch` from 0; `logs`: `batch`, `size` in samples",
    ),
    "on_val_batch_end": in_validation(
        Ours.on_evaluation_batch_end,
        _val_batch_end,
        "`batch` from 0; `logs`: `batch`, `size`, `val_loss` and metrics of this batch on this "
        "rank",
    ),
    "on_val_end": in_validation(
        Ours.on_evaluation_end,
        _val_end,
        "`logs`: as `on_val_begin`, with `val_loss` and the other metrics, over all ranks",
    ),
    "on_epoch_end": row(
        Ours.on_epoch_end,
        _epoch_end,
        "after the validation; `epoch` from 0; `logs`: `loss`, `val_loss` and other metrics, over "
        "all ranks; `lr`, `lr_group_0`, `epoch` (from 1), `epoch_time` in seconds",
        evaluating=True,
    ),
    "on_train_end": at_the_end(
        _train_end,
        "also when training fails; `logs`: those of the last epoch, `final_epoch`, `world_size`",
        evaluating=True,
    ),
}
"""Their hooks, in the order in which they come."""


class NNHandlerAdapter(Adapter):
    """Answers for a callback of nn_handler."""

    dialect = "nn_handler"
    table = TABLE
    view_class = Handler
    reads_training_metrics = ("on_train_batch_end", "on_val_begin", "on_epoch_end", "on_train_end")
    on_error = "warn"

    def __init__(self, foreign: Any, base: type) -> None:
        super().__init__(foreign, base)
        self.epoch_seconds = 0.0
        """Seconds of training when the epoch began."""
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
