"""Callbacks written for the adaptive neural network's trainer: hooks with `trainer` and `logs`.

    from trackside.dialects.adaptive_neural_network.adapter import Callback

Epochs and batches count from 0. `trainer.stop_training = True` ends training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from trackside.data.counting import samples_in
from trackside.dialects import state_file
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
from trackside.dialects.view import View, epochs_of, optimizer_of, prefixes
from trackside.errors import UsageError
from trackside.lifecycle import adoption
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run

Logs = dict[str, Any]


class Callback:
    """Base class with their hooks; override those you need."""

    def on_train_begin(self, trainer: Trainer, logs: Logs | None = None) -> None: ...
    def on_train_end(self, trainer: Trainer, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, trainer: Trainer, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, trainer: Trainer, logs: Logs | None = None) -> None: ...
    def on_batch_begin(
        self, batch_idx: int, trainer: Trainer, logs: Logs | None = None
    ) -> None: ...
    def on_batch_end(self, batch_idx: int, trainer: Trainer, logs: Logs | None = None) -> None: ...
    def on_backward_end(
        self, batch_idx: int, trainer: Trainer, logs: Logs | None = None
    ) -> None: ...
    def on_evaluate_begin(self, trainer: Trainer, logs: Logs | None = None) -> None: ...
    def on_evaluate_end(self, trainer: Trainer, logs: Logs | None = None) -> None: ...


class CallbackList:
    """Callbacks in the order in which they are called: `Trainer(callbacks=CallbackList([...]))`."""

    def __init__(self, callbacks: Iterable[Any] | None = None) -> None:
        self.callbacks = list(callbacks or ())

    def append(self, callback: Any) -> None:
        """Add a callback at the end."""
        self.callbacks.append(callback)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)


class Trainer(View):
    """Stands for their `Trainer`: what their documents show of it, as a view of the run."""

    dialect = "adaptive_neural_network"
    stands_for = "Trainer"
    instead: ClassVar[dict[str, str]] = {
        "fit": "training is under way; to end it: `trainer.stop_training = True`",
        "evaluate": "ask for it: `trainer.run.evaluate('val')`",
        "criterion": "the trainer has it: `Trainer(loss=...)`",
        "max_grad_norm": "give it to the trainer: `Trainer(clip=1.0)`",
        "scaler": "the trainer has it: `Trainer(precision='fp16')`",
        "use_amp": "give it to the trainer: `Trainer(precision='bf16')`",
    }

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.run.model

    @property
    def optimizer(self) -> Any:
        """The optimizer; None where there is none, as in `Trainer.evaluate`."""
        return optimizer_of(self.run)

    @property
    def device(self) -> Any:
        """Device of the model."""
        return self.run.device

    @property
    def num_epochs(self) -> int:
        """How many epochs the run has.

        Raises:
            UsageError: The run is limited by steps, and the length of the data is unknown.
        """
        epochs = epochs_of(self.run)
        if epochs is None:
            raise UsageError(
                "adaptive_neural_network: `trainer.num_epochs` isn't known",
                received="a run limited by steps, and data without a length",
                remedy="give `fit` the limit `epochs=...`",
            )
        return epochs

    @property
    def current_epoch(self) -> int:
        """Number of the epoch, from 0."""
        return self.epoch

    @property
    def gradient_accumulation_steps(self) -> int:
        """Batches per step."""
        return self.run.accumulate

    @property
    def callbacks(self) -> CallbackCollection:
        """All callbacks of the run."""
        return self.run.callbacks

    @property
    def metrics_history(self) -> list[Logs]:
        """Metrics of each epoch so far: `train_loss`, `val_loss`, ..."""
        return epochs_in(self.run)

    @property
    def stop_training(self) -> bool:
        """Whether training is to end; set it to True to ask for that."""
        return self.stops

    @stop_training.setter
    def stop_training(self, wanted: bool) -> None:
        self.set_stop(wanted)

    def save_checkpoint(self, path: str | Path) -> None:
        """Write weights, optimizer, scheduler and metrics to one file."""
        state = state_file.state_of(self.run, self.run.model)
        state["epoch"] = self.current_epoch
        state["metrics_history"] = self.metrics_history
        state_file.save_on_rank_zero(self.run, path, state)

    def load_checkpoint(self, path: str | Path) -> dict[str, Any]:
        """Restore the weights and optimizer of a saved file; returns its content."""
        state = state_file.read(path)
        state_file.restore(self.run, state)
        return state_file.under_their_keys(state)


def epochs_in(run: Run) -> list[Logs]:
    """The metrics of each epoch, under their names."""
    epochs: dict[int, Logs] = {}
    names = prefixes(run, "train_", "val_")
    for record in run.history:
        own = {n: v for n, v in record.values.items() if n.startswith(tuple(names))}
        if own:
            epochs.setdefault(record.epoch, {}).update(renamed(own, names))
    return list(epochs.values())


# --- what the hooks get ------------------------------------------------------------------------


def _batch_begin(adapter: Adapter, run: Run, batch: Any) -> None:
    key = ("batch", run.progress.batches_completed)
    logs = adapter.view.once(key, lambda: LateValues(batch_size=samples_in(batch)))
    adapter.foreign.on_batch_begin(run.progress.epoch_batches_completed, adapter.view, logs)


def _backward_end(adapter: Adapter, run: Run, loss: Any) -> None:
    key = ("batch", run.progress.batches_completed)
    logs = adapter.view.once(key, lambda: LateValues(batch_size=int(run.batch_samples)))
    adapter.foreign.on_backward_end(run.progress.epoch_batches_completed, adapter.view, logs)


def _batch_end(adapter: Adapter, run: Run, output: Any) -> None:
    def make() -> Logs:
        metrics = of_batch(run)
        return LateValues(batch_size=int(run.batch_samples), loss=loss_of(output), **metrics)

    logs = adapter.view.once(("batch end", run.progress.batches_completed), make)
    adapter.foreign.on_batch_end(run.progress.epoch_batches_completed - 1, adapter.view, logs)


def _evaluate_end(adapter: Adapter, run: Run, evaluation: Evaluation) -> None:
    key = ("evaluate", run.progress.steps_completed)
    names = {f"{evaluation.name}/": "val_"}
    logs = adapter.view.once(key, lambda: renamed(evaluation.metrics, names))
    adapter.foreign.on_evaluate_end(adapter.view, logs)


def _epoch_end(adapter: Adapter, run: Run, metrics: dict[str, float]) -> None:
    epoch = adapter.view.epoch
    logs = adapter.view.once(
        ("epoch", epoch), lambda: renamed(metrics, prefixes(run, "train_", "val_"))
    )
    adapter.foreign.on_epoch_end(epoch, adapter.view, logs)


TABLE: dict[str, Row] = {
    "on_train_begin": row(
        Ours.on_fit_start, lambda a, run: a.foreign.on_train_begin(a.view), "`logs` is None"
    ),
    "on_epoch_begin": row(
        Ours.on_epoch_start,
        lambda a, run: a.foreign.on_epoch_begin(a.view.epoch, a.view),
        "`epoch` from 0; `logs` is None",
    ),
    "on_batch_begin": row(
        Ours.on_batch_start,
        _batch_begin,
        "`batch_idx` is the number of the batch in the epoch, from 0; `logs`: `batch_size`",
    ),
    "on_backward_end": row(
        Ours.on_backward_end,
        _backward_end,
        "after the backward pass of each batch, before the update: gradients may be changed, "
        "except with `precision='fp16'`, where they are scaled until `on_optimizer_step_start`",
    ),
    "on_batch_end": after_update(
        _batch_end,
        "after the update, where the batch ends a step; `logs`: `batch_size`, `loss` and metrics "
        "of this batch on this rank",
    ),
    "on_evaluate_begin": in_validation(
        Ours.on_evaluation_start,
        lambda a, run, evaluation: a.foreign.on_evaluate_begin(a.view),
        "for the data set `val`; `logs` is None",
    ),
    "on_evaluate_end": in_validation(
        Ours.on_evaluation_end,
        _evaluate_end,
        "`logs`: `val_loss` and the other metrics, over all ranks",
    ),
    "on_epoch_end": row(
        Ours.on_epoch_end,
        _epoch_end,
        "after the validation; `epoch` from 0; `logs`: `train_loss`, `train_accuracy`, `val_loss` "
        "and other metrics, over all ranks",
        evaluating=True,
    ),
    "on_train_end": at_the_end(
        lambda a, run: a.foreign.on_train_end(a.view),
        "also when training fails; `logs` is None",
        evaluating=True,
    ),
}
"""Their hooks, in the order in which they come."""


class TrainerAdapter(Adapter):
    """Answers for a callback of the adaptive neural network."""

    dialect = "adaptive_neural_network"
    table = TABLE
    view_class = Trainer
    reads_training_metrics = ("on_batch_end", "on_epoch_end")


def adopt(callback: object) -> TrainerAdapter | None:
    """The adapter of a callback of the adaptive neural network; None for others."""
    for cls in type(callback).__mro__:
        if cls is Callback or (cls.__module__, cls.__name__) == THEIRS:
            return TrainerAdapter(callback, cls)
    return None


THEIRS = ("adaptiveneuralnetwork.training.callbacks", "Callback")
"""Module and name of their own base class."""

adoption.adopters.append(adopt)
