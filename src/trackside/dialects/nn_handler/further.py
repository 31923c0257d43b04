"""Further callbacks of nn_handler: schedules of attributes, pictures of predictions, W&B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trackside.callbacks.pictures.prediction_images import PredictionImages
from trackside.callbacks.reporting.wandb import WandB
from trackside.data.batches import move
from trackside.dialects.nn_handler.adapter import Callback, Logs
from trackside.dialects.nn_handler.view import Handler
from trackside.errors import ConfigurationError, DataError, UnknownNameError
from trackside.lifecycle.adoption import Translated
from trackside.progress import whole_number
from trackside.step.evaluation import evaluating
from trackside.step.output import split

Batch = Any


class ParamScheduler(Callback):
    """Sets a number of the model at the beginning of each epoch.

    Args:
        parameter_name: Name of an attribute that the model has.
        schedule: An object with `get_value(epoch)`, or a function of the epoch, from 0.
        verbose: 1 logs each value.

    Raises:
        UnknownNameError: When training begins: the model has no such attribute.
    """

    def __init__(self, parameter_name: str, schedule: Any, verbose: int = 0) -> None:
        super().__init__()
        self.parameter_name = parameter_name
        self.value_of: Callable[[int], Any] = getattr(schedule, "get_value", schedule)
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the value of the epoch."""
        handler = _handler(self)
        module = handler.module
        if not hasattr(module, self.parameter_name):
            raise UnknownNameError.among(
                list(vars(module)), self.parameter_name, "of the model to schedule"
            )
        value = self.value_of(epoch)
        setattr(module, self.parameter_name, value)
        if self.verbose and handler.run.world.is_global_zero:
            handler.logger.info("%s = %s", self.parameter_name, value)


class BasePredictionVisualizer(Callback):
    """Shows what the model makes of a batch, every so many epochs: override `_visualize_batch`.

    All ranks predict, rank 0 draws. The model evaluates meanwhile.

    Args:
        log_freq_epoch: Epochs from one time to the next.
        num_samples: How many samples of the batch.
        save_dir: A folder for the method that draws; None: it has none.
        val_loader: Where the batch comes from; None takes the validation of the run.
        use_fixed_batch: Whether the first batch is kept and shown again.
        fixed_batch: The batch itself.
        get_predictions_fn: A function of model and inputs; None calls the model.
    """

    def __init__(
        self,
        log_freq_epoch: int = 5,
        num_samples: int = 8,
        save_dir: str | None = None,
        val_loader: Any = None,
        use_fixed_batch: bool = False,
        fixed_batch: Batch | None = None,
        get_predictions_fn: Callable[[nn.Module, Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.log_freq_epoch = whole_number(log_freq_epoch, "log_freq_epoch", at_least=1)
        self.num_samples = whole_number(num_samples, "num_samples", at_least=1)
        self.save_dir, self.val_loader = save_dir, val_loader
        self.use_fixed_batch = use_fixed_batch or fixed_batch is not None
        self.fixed_batch, self.get_predictions_fn = fixed_batch, get_predictions_fn

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Predict and show, where it is time."""
        if (epoch + 1) % self.log_freq_epoch:
            return
        handler = _handler(self)
        run = handler.run
        with torch.no_grad(), evaluating(run.models):
            inputs, targets = split(move(self._batch(handler), run.device))
            predict = self.get_predictions_fn or (lambda model, given: model(given))
            predictions = predict(handler.model, inputs)
        if run.world.is_global_zero:
            few = slice(self.num_samples)
            self._visualize_batch(inputs[few], targets[few], predictions[few], epoch, logs)

    def _batch(self, handler: Handler) -> Batch:
        if self.fixed_batch is not None:
            return self.fixed_batch
        loader = self.val_loader if self.val_loader is not None else handler.val_loader
        if loader is None:
            raise DataError(
                f"`{type(self).__name__}` has nothing to show",
                expected="a validation of the run, `val_loader=` or `fixed_batch=`",
            )
        batch = next(iter(loader))
        if self.use_fixed_batch:
            self.fixed_batch = batch
        return batch

    def _visualize_batch(
        self, inputs: Any, targets: Any, predictions: Any, epoch: int, logs: Logs | None
    ) -> None:
        raise NotImplementedError(f"`{type(self).__name__}` has to define `_visualize_batch`")


class ImagePredictionVisualizer(Translated):
    """Pictures of inputs, targets and predictions, in the run's folder and in every tracker.

    Args:
        log_freq_epoch: Epochs from one picture to the next.
        num_samples: How many samples.
        elsewhere: Refused: a folder, a window and how it is drawn are not to be chosen.
    """

    def __init__(self, log_freq_epoch: int = 5, num_samples: int = 8, **elsewhere: Any) -> None:
        _refuse(type(self), elsewhere, "draw in a `BasePredictionVisualizer` of your own")
        super().__init__(
            PredictionImages("val", every=f"{log_freq_epoch} epochs", count=num_samples)
        )


class WandbLogger(Translated):
    """All records, and the configuration of the run, in Weights & Biases.

    Args:
        project: Name of the project.
        entity: User or team; None is W&B's own default.
        run_name: Name of the run; None takes that of its folder.
        elsewhere: Refused: records are sent as they come; weights and topology are `Artifacts`.
    """

    def __init__(
        self,
        project: str,
        entity: str | None = None,
        run_name: str | None = None,
        **elsewhere: Any,
    ) -> None:
        _refuse(type(self), elsewhere, "use `trackside.callbacks.WandB`, and `Artifacts` beside it")
        super().__init__(WandB(project, name=run_name, options={"entity": entity}))


def _refuse(kind: type, options: Mapping[str, Any], remedy: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigurationError(
                f"`{kind.__name__}` has no option `{name}` here", remedy=remedy, option=name
            )


def _handler(callback: Callback) -> Handler:
    assert callback.handler is not None, "set when the callback was added"
    return callback.handler
