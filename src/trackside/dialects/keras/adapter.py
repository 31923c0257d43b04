"""Callbacks written for Keras: hooks with `logs`, `set_params`, `set_model`.

Callbacks of `keras.callbacks` (with the torch backend) run as they are; `Callback` here has the
same hooks for those who don't have Keras installed. Epochs and batches count from 0. `self.model`
shows what doesn't depend on a Keras model: stopping, the learning rate, weights by file or array.
"""

from __future__ import annotations

from typing import Any

from trackside.dialects.keras.model import ModelView as ModelView
from trackside.dialects.keras.model import OptimizerView as OptimizerView
from trackside.dialects.training_metrics import of_batch
from trackside.dialects.translation import (
    Adapter,
    Row,
    after_update,
    at_the_end,
    in_validation,
    row,
)
from trackside.dialects.values import LateValues, loss_of, renamed
from trackside.dialects.view import epochs_of, prefixes
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run

Logs = dict[str, Any]


class Callback:
    """Base class with the hooks of Keras; override those you need."""

    params: dict[str, Any] | None = None
    """`epochs`, `steps` (per epoch) and `verbose`."""
    model: Any = None
    """The view of the run; set when the callback joins."""

    def set_params(self, params: dict[str, Any]) -> None:
        """Called with the settings of the run."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called with the view of the run."""
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


# --- what the hooks get ------------------------------------------------------------------------


def _begin(name: str) -> Any:
    """Calls the hook `name` with empty logs."""
    return lambda adapter, run, *_: getattr(adapter.foreign, name)({})


def _batch_begin(name: str) -> Any:
    return lambda adapter, run, batch: getattr(adapter.foreign, name)(
        run.progress.epoch_batches_completed, {}
    )


def _batch_end(name: str) -> Any:
    def call(adapter: Adapter, run: Run, output: Any) -> None:
        key = ("batch", run.progress.batches_completed)
        logs = adapter.view.once(key, lambda: LateValues(loss=loss_of(output), **of_batch(run)))
        getattr(adapter.foreign, name)(run.progress.epoch_batches_completed - 1, logs)

    return call


def _test_batch_end(
    adapter: Adapter, run: Run, evaluation: Evaluation, batch: Any, output: Any
) -> None:
    index = evaluation.batches_completed - 1
    key = ("test batch", run.progress.steps_completed, index)
    logs = adapter.view.once(key, lambda: LateValues(loss=loss_of(output)))
    adapter.foreign.on_test_batch_end(index, logs)


def _test_end(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
    names = {f"{evaluation.name}/": ""}
    key = ("test", run.progress.steps_completed)
    logs = adapter.view.once(key, lambda: renamed(evaluation.metrics, names))
    adapter.foreign.on_test_end(logs)


def _epoch_end(adapter: Adapter, run: Run, metrics: dict[str, float]) -> None:
    epoch = adapter.view.epoch
    names = prefixes(run, "", "val_")
    logs = adapter.view.once(("epoch", epoch), lambda: renamed(metrics, names))
    adapter.view.shared["__logs__"] = logs
    adapter.foreign.on_epoch_end(epoch, logs)


def _predict_batch_begin(adapter: KerasAdapter, run: Run, batch: Any) -> None:
    adapter.foreign.on_predict_batch_begin(adapter.predicted, {})


def _predict_batch_end(adapter: KerasAdapter, run: Run, batch: Any, output: Any) -> None:
    index, adapter.predicted = adapter.predicted, adapter.predicted + 1
    adapter.foreign.on_predict_batch_end(index, {"outputs": output})


_TRAIN_BATCH = "`batch` is the number of the batch in the epoch, from 0; `logs` is empty"
_TRAIN_BATCH_END = (
    "after the update, where the batch ends a step; `logs`: `loss` and metrics of this batch on "
    "this rank, not the means of the epoch so far"
)

TABLE: dict[str, Row] = {
    "set_params": Row(note="when everything is set up: `epochs`, `steps` per epoch, `verbose`"),
    "set_model": Row(note="when everything is set up, with the view of the run"),
    "on_train_begin": row(Ours.on_fit_start, _begin("on_train_begin"), "`logs` is empty"),
    "on_epoch_begin": row(
        Ours.on_epoch_start,
        lambda a, run: a.foreign.on_epoch_begin(a.view.epoch, {}),
        "`epoch` from 0; `logs` is empty",
    ),
    "on_train_batch_begin": row(
        Ours.on_batch_start, _batch_begin("on_train_batch_begin"), _TRAIN_BATCH
    ),
    "on_batch_begin": row(
        Ours.on_batch_start,
        _batch_begin("on_batch_begin"),
        "as `on_train_batch_begin`, unless that is overridden",
    ),
    "on_train_batch_end": after_update(_batch_end("on_train_batch_end"), _TRAIN_BATCH_END),
    "on_batch_end": after_update(
        _batch_end("on_batch_end"), "as `on_train_batch_end`, unless that is overridden"
    ),
    "on_test_begin": in_validation(
        Ours.on_evaluation_start,
        _begin("on_test_begin"),
        "for the data set `val`, and in `Trainer.evaluate`; `logs` is empty",
    ),
    "on_test_batch_begin": in_validation(
        Ours.on_evaluation_batch_start,
        lambda a, run, evaluation, batch: a.foreign.on_test_batch_begin(
            evaluation.batches_completed, {}
        ),
        "`batch` from 0; `logs` is empty",
    ),
    "on_test_batch_end": in_validation(
        Ours.on_evaluation_batch_end,
        _test_batch_end,
        "`batch` from 0; `logs`: `loss` of this batch on this rank",
    ),
    "on_test_end": in_validation(
        Ours.on_evaluation_end,
        _test_end,
        "`logs`: `loss` and other metrics, over all ranks",
    ),
    "on_epoch_end": row(
        Ours.on_epoch_end,
        _epoch_end,
        "after the validation; `epoch` from 0; `logs`: `loss`, `accuracy`, `val_loss` and other "
        "metrics, over all ranks; what one callback adds, the next one sees",
    ),
    "on_train_end": at_the_end(
        lambda a, run: a.foreign.on_train_end(a.view.shared.get("__logs__", {})),
        "also when training fails; `logs` of the last epoch",
    ),
    "on_predict_begin": row(
        Ours.on_predict_start, _begin("on_predict_begin"), "`Trainer.predict`; `logs` is empty"
    ),
    "on_predict_batch_begin": row(
        Ours.on_predict_batch_start, _predict_batch_begin, "`batch` from 0; `logs` is empty"
    ),
    "on_predict_batch_end": row(
        Ours.on_predict_batch_end, _predict_batch_end, "`batch` from 0; `logs`: `outputs`"
    ),
    "on_predict_end": row(Ours.on_predict_end, _begin("on_predict_end"), "`logs` is empty"),
}
"""Their hooks."""


class KerasAdapter(Adapter):
    """Answers for a callback of Keras."""

    dialect = "keras"
    table = TABLE
    view_class = ModelView
    reads_training_metrics = ("on_epoch_end", "on_train_batch_end", "on_batch_end", "on_train_end")

    def __init__(self, foreign: Any, base: type) -> None:
        super().__init__(foreign, base)
        self.predicted = 0
        """Batches predicted so far."""

    def rows(self) -> dict[str, Row]:
        """The rows, less the old names of batch hooks where the new ones are overridden."""
        old = {"on_batch_begin": "on_train_batch_begin", "on_batch_end": "on_train_batch_end"}
        return {n: r for n, r in TABLE.items() if n not in old or not self.overrides(old[n])}

    def on_setup_end(self, run: Run) -> None:
        """Show the run, as Keras does before its first hook."""
        train = run.data.get("train")
        steps = train.batches if train is not None else None
        self.foreign.set_params({"epochs": epochs_of(run), "steps": steps, "verbose": 0})
        self.foreign.set_model(self.view)

    def on_predict_start(self, run: Run) -> None:
        """Count batches from zero again."""
        self.predicted = 0


def adopt(callback: object) -> KerasAdapter | None:
    """The adapter of a callback of Keras; None for others."""
    for cls in type(callback).__mro__:
        if cls is Callback or (cls.__module__, cls.__name__) == THEIRS:
            return KerasAdapter(callback, cls)
    return None


THEIRS = ("keras.src.callbacks.callback", "Callback")
"""Module and name of their own base class."""

adoption.adopters.append(adopt)
