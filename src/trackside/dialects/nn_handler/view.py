"""The view for callbacks of nn_handler: the handler."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from trackside.dialects import state_file
from trackside.dialects.values import renamed
from trackside.dialects.view import View, optimizer_of, prefixes, so_far, validation_name
from trackside.lifecycle.adoption import original


class Handler(View):
    """Stands for the `NNHandler`: what its documents show of it, as a view of the run."""

    dialect = "nn_handler"
    stands_for = "NNHandler"
    instead: ClassVar[dict[str, str]] = {
        "train": "training is under way; to end it: `self.handler.run.stop(reason)`",
        "set_optimizer": "give it to the trainer: `Trainer(optimizer=lambda p: AdamW(p))`",
        "set_loss_fn": "give it to the trainer: `Trainer(loss=...)`",
        "loss_fn": "the trainer has it: `Trainer(loss=...)`",
        "_loss_fn": "give it to the trainer: `Trainer(loss=...)`",
        "_optimizer": "give it to the trainer: `Trainer(optimizer=lambda p: AdamW(p))`",
        "_scheduler": "give it to the trainer: `Trainer(scheduler=...)`",
        "_model": "change the module in place: `self.handler.module`",
        "_device": "the trainer has it: `Settings(device=...)`",
        "_model_type": "models are modules here: ask with `isinstance(self.handler.module, ...)`",
        "auto_save": "use `trackside.callbacks.AutoSave`, or `Checkpoint`",
        "sampler": "a step that samples is a `training_step` of `trackside.Trainer`",
        "sde": "a step that samples is a `training_step` of `trackside.Trainer`",
        "modules_always_eval": "call `eval()` on a part before `fit`: it keeps that mode",
        "complimentary_kwargs": "a `training_step` of `trackside.Trainer` calls the model",
        "save_path": "files are in the run's folder: `self.handler.run.directory`",
        "save_interval": "use `trackside.callbacks.Checkpoint(every=...)`",
        "train_loader_kwargs": "the loader itself: `self.handler.train_loader`",
        "plot_losses": "use `trackside.callbacks.PlotHistory`",
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
        return self.run.history.values(f"{self._validation}/loss")

    @property
    def train_metrics_history(self) -> dict[str, list[float]]:
        """Means of each metric over the epochs so far, by name, over all ranks."""
        return self._metrics_of("train")

    @property
    def val_metrics_history(self) -> dict[str, list[float]]:
        """Values of each metric in the validations so far, by name, over all ranks."""
        return self._metrics_of(self._validation)

    def _metrics_of(self, topic: str) -> dict[str, list[float]]:
        history, prefix = self.run.history, f"{topic}/"
        names = [name for name in history.names if name.startswith(prefix)]
        return {n.removeprefix(prefix): history.values(n) for n in names if n != f"{topic}/loss"}

    @property
    def _validation(self) -> str:
        return validation_name(self.run) or "val"

    @property
    def metrics(self) -> dict[str, Any]:
        """The trainer's metrics by name."""
        return dict(getattr(self.run.steps, "metrics", {}))

    def monitor_keys(self) -> list[str]:
        """Names that `logs` at the end of an epoch can have."""
        known = prefixes(self.run, "", "val_")
        names = [n for n in self.run.history.names if n.startswith(tuple(known))]
        return [*renamed(dict.fromkeys(names), known), "lr", "epoch"]

    @property
    def seed(self) -> int | None:
        """Seed of the run, where it has one."""
        seed: int | None = self.run.config.get("seed")
        return seed

    @property
    def callbacks(self) -> list[Any]:
        """All callbacks of the run, in order; those of other frameworks themselves."""
        return [original(callback) for callback in self.run.callbacks]

    @property
    def _model_kwargs(self) -> dict[str, Any]:
        return {}

    model_kwargs = _model_kwargs

    @property
    def logger(self) -> logging.Logger:
        """A logger."""
        return logging.getLogger(__name__)

    def log(self, message: str, level: int = logging.INFO) -> None:
        """Log a message on rank 0."""
        if self._rank == 0:
            self.logger.log(level, message)

    def warn(self, message: str, category: type[Warning] = UserWarning) -> None:
        """Warn on rank 0."""
        if self._rank == 0:
            warnings.warn(message, category, stacklevel=2)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0."""
        if self._rank == 0:
            print(*args, **kwargs)  # noqa: T201 - what the callback asks for

    def count_parameters(self, trainable_only: bool = True) -> int:
        """How many numbers the parameters of the model have together."""
        parameters = self.module.parameters()
        return sum(p.numel() for p in parameters if p.requires_grad or not trainable_only)

    def freeze_module(self, module: nn.Module | str) -> None:
        """Train the parameters of a part of the model no more; by its name, or itself."""
        part = self.module.get_submodule(module) if isinstance(module, str) else module
        part.requires_grad_(False)

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
        source = so_far(self.run, "data").get(self._validation)
        return None if source is None else source.loader

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

    def remove_callback(self, callback: object) -> None:
        """Remove a callback from the run.

        Raises:
            UnknownCallbackError: It isn't there.
        """
        callbacks = self.run.callbacks
        del callbacks[callbacks.name_of(callback)]

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
