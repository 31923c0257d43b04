"""Callbacks written for Keras: hooks with `logs`, `set_params`, `set_model`.

Callbacks of `keras.callbacks` (with the torch backend) run as they are; `Callback` here has the
same hooks for those who don't have Keras installed. Epochs and batches count from 0. `self.model`
shows what doesn't depend on a Keras model: stopping, the learning rate, weights by file or array.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer as TorchOptimizer

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
from trackside.dialects.view import View, epochs_of
from trackside.errors import UsageError
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback as Ours
from trackside.paths import local_path
from trackside.run import Evaluation, Run

Logs = dict[str, Any]

NAMES = {"train/": "", "val/": "val_"}
"""Prefixes of the names of metrics in `logs`."""


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


class OptimizerView(View):
    """Stands for `self.model.optimizer`: the learning rate of a torch optimizer."""

    dialect = "keras"
    stands_for = "Optimizer"
    instead: ClassVar[dict[str, str]] = {
        "variables": "`self.model.run.optimizer.state`: it is a torch optimizer",
        "apply_gradients": "override `optimizer_step` of `trackside.Trainer`",
    }

    @property
    def torch_optimizer(self) -> TorchOptimizer:
        """The optimizer itself."""
        return self.run.optimizer

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first group; setting it sets that of all."""
        rate: float = self.run.optimizer.param_groups[0]["lr"]
        return rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        for group in self.run.optimizer.param_groups:
            group["lr"] = float(rate)

    @property
    def iterations(self) -> int:
        """Optimizer steps completed."""
        return self.run.progress.steps_completed


class ModelView(View):
    """Stands for `self.model`: a Keras model, as far as that can be a view of the run."""

    dialect = "keras"
    stands_for = "Model"
    instead: ClassVar[dict[str, str]] = {
        "compile": "give loss and optimizer to the trainer: `Trainer(loss=..., optimizer=...)`",
        "fit": "training is under way; to end it: `self.model.stop_training = True`",
        "evaluate": "ask for it: `self.model.run.evaluate('val')`",
        "layers": "the torch module: `self.model.run.model.named_modules()`",
        "trainable_variables": "the torch module: `self.model.run.model.parameters()`",
        "to_json": "a torch module has no such form; export it with `torch.export`",
    }

    @property
    def optimizer(self) -> OptimizerView:
        """The optimizer's learning rate."""
        optimizer = OptimizerView()
        optimizer.look_at(self.run)
        return optimizer

    @property
    def stop_training(self) -> bool:
        """Whether training is to end; set it to True to ask for that."""
        return self.stops

    @stop_training.setter
    def stop_training(self, wanted: bool) -> None:
        self.set_stop(wanted)

    def get_weights(self) -> list[Any]:
        """Copies of all parameters and buffers as arrays, in the order of the module."""
        tensors = self.run.model.state_dict().values()
        return [tensor.detach().cpu().numpy().copy() for tensor in tensors]

    def set_weights(self, weights: list[Any]) -> None:
        """Restore the weights that `get_weights` returned.

        Raises:
            UsageError: Not as many arrays as the model has.
        """
        state = self.run.model.state_dict()
        if len(weights) != len(state):
            raise UsageError(
                "these aren't the weights of this model",
                expected=f"{len(state)} arrays, as `get_weights` returns them",
                received=f"{len(weights)} arrays",
            )
        tensors = {k: torch.as_tensor(w) for k, w in zip(state, weights, strict=True)}
        self.run.model.load_state_dict(tensors)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write the weights to a file; a safetensors file, whatever its name ends in."""
        state = state_file.state_of(self.run, self.run.model, optimizer=False, scheduler=False)
        self._write(filepath, state, overwrite)

    def load_weights(self, filepath: str | Path) -> None:
        """Restore weights that `save_weights` or `save` wrote."""
        state = state_file.read(filepath)
        state_file.restore(self.run, state, optimizer=False, scheduler=False)

    def save(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write weights and optimizer to a file; a safetensors file, whatever its name ends in."""
        self._write(filepath, state_file.state_of(self.run, self.run.model), overwrite)

    def _write(self, filepath: str | Path, state: dict[str, Any], overwrite: bool) -> None:
        if not overwrite and local_path(filepath).exists():
            raise UsageError(f"{str(filepath)!r} is there already", remedy="pass overwrite=True")
        state_file.save_on_rank_zero(self.run, filepath, state)


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
        logs = adapter.view.once(key, lambda: LateValues(loss=loss_of(output)))
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
    logs = adapter.view.once(("epoch", epoch), lambda: renamed(metrics, NAMES))
    adapter.view.shared["__logs__"] = logs
    adapter.foreign.on_epoch_end(epoch, logs)


def _predict_batch_begin(adapter: KerasAdapter, run: Run, batch: Any) -> None:
    adapter.foreign.on_predict_batch_begin(adapter.predicted, {})


def _predict_batch_end(adapter: KerasAdapter, run: Run, batch: Any, output: Any) -> None:
    index, adapter.predicted = adapter.predicted, adapter.predicted + 1
    adapter.foreign.on_predict_batch_end(index, {"outputs": output})


_TRAIN_BATCH = "`batch` is the number of the batch in the epoch, from 0; `logs` is empty"
_TRAIN_BATCH_END = (
    "after the update, where the batch ends a step; `logs`: `loss` of this batch on this rank, not "
    "the mean of the epoch so far"
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
        "after the validation; `epoch` from 0; `logs`: `loss`, `val_loss` and other metrics, over "
        "all ranks; what one callback adds, the next one sees",
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
