"""`pl_module` of a run whose model is any `nn.Module`: the model, and what their modules add."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trackside.dialects.lightning.ranks import RankNumbers
from trackside.dialects.view import UnknownAttributeError, so_far
from trackside.errors import ConfigurationError

if TYPE_CHECKING:
    from trackside.dialects.lightning.trainer import TrainerView


class Hyperparameters(dict[str, Any]):
    """A dict whose values are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"there is no hyperparameter `{name}`")


class ModuleView(RankNumbers):
    """Stands for the `LightningModule`: it is the run's model, and can log.

    What it doesn't declare is read from the model, and set there.

    Args:
        trainer: The view of the trainer that goes with it.
    """

    dialect = "lightning"
    stands_for = "LightningModule"
    instead = {
        "training_step": "the trainer's: `run.steps.training_step(run, batch)`",
        "validation_step": "the trainer's: `run.steps.evaluation_step(run, batch)`",
        "configure_optimizers": "optimizers are the trainer's: `run.optimizers` has them",
        "manual_backward": "the step of the trainer: `manual_optimization = True`, `optimize(...)`",
        "toggle_optimizer": "the step of the trainer: `manual_optimization = True`",
        "save_hyperparameters": "`run.config` has settings and configuration",
    }

    def __init__(self, trainer: TrainerView) -> None:
        super().__init__()
        vars(self)["_trainer"] = trainer

    @property
    def _model(self) -> Any:
        return so_far(self.run, "models") and self.run.model

    # `isinstance(pl_module, nn.Module)` holds there, and callbacks ask.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        run: Any = vars(self).get("_run")
        return ModuleView if run is None or not so_far(run, "models") else type(run.model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run.model(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        """A copy is one of the model."""
        return deepcopy(self.run.model, memo)

    def __repr__(self) -> str:
        return repr(self.run.model)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        run: Any = vars(self).get("_run")
        models = {} if run is None else so_far(run, "models")
        if models and name not in self.instead:
            try:
                return getattr(run.model, name)
            except AttributeError:
                remedy = self._remedy(name)
                raise UnknownAttributeError(
                    f"lightning: the model `{type(run.model).__name__}` has no `{name}`",
                    remedy=remedy,
                ) from None
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.instead or not so_far(self.run, "models"):
            super().__setattr__(name, value)
        else:
            setattr(self.run.model, name, value)

    # --- what a LightningModule adds ---------------------------------------------------------

    @property
    def trainer(self) -> TrainerView:
        """The view of the trainer."""
        trainer: TrainerView = vars(self)["_trainer"]
        return trainer

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        first = next(iter(self.run.model.parameters()), None)
        return torch.get_default_dtype() if first is None else first.dtype

    @property
    def hparams(self) -> Any:
        """The model's own `hparams`, else settings and configuration of the run."""
        own = getattr(self._model, "hparams", None)
        return Hyperparameters(self.run.config) if own is None else own

    hparams_initial = hparams

    @property
    def current_epoch(self) -> int:
        """Number of the epoch under way, from 0."""
        return self.trainer.current_epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps completed."""
        return self.trainer.global_step

    @property
    def logger(self) -> Any:
        """The run's trackers."""
        return self.trainer.logger

    @property
    def loggers(self) -> list[Any]:
        """The run's trackers, as one."""
        return self.trainer.loggers

    @property
    def automatic_optimization(self) -> bool:
        """Whether the loop makes the updates."""
        return not getattr(self.run.steps, "manual_optimization", False)

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """The predictions of a batch, by the step of the trainer."""
        return self.run.steps.predict_step(self.run, batch)

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or a list of several."""
        found = self.trainer.optimizers
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        """The scheduler, a list of several, or None."""
        found = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        return (found[0] if len(found) == 1 else found) or None

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        batch_size: int | None = None,
        rank_zero_only: bool = False,
        **_: Any,
    ) -> None:
        """Log a number; the next record holds the mean of those since the last, over all ranks.

        Args:
            name: Its name; without a slash it gets that of the data in hand.
            value: A number, or a tensor of one element.
            prog_bar: Nothing: the callback `ProgressBar` says itself what it shows.
            logger: Whether trackers get it; otherwise it is in `callback_metrics` alone.
            on_step: Nothing: records come at the trainer's `log_every`.
            on_epoch: Nothing: the record of an epoch comes at its end.
            reduce_fx: `mean`.
            batch_size: Weight in the mean; None takes the samples of the batch in hand.
            rank_zero_only: Nothing: every rank logs, and the mean is over all.

        Raises:
            ConfigurationError: Another reduction than the mean.
        """
        if reduce_fx not in ("mean", torch.mean):
            raise ConfigurationError(
                f"lightning: {name!r} can't be logged with `reduce_fx={reduce_fx!r}` here",
                expected="the mean, weighted by samples",
                remedy="log what is added up or counted with `batch_size=1`, or as a metric: "
                "`Trainer(metrics={...})`",
            )
        self.trainer.log(name, value, weight=batch_size, recorded=logger is not False)

    def log_dict(self, dictionary: Mapping[str, Any], **options: Any) -> None:
        """Log several numbers."""
        for name, value in dictionary.items():
            self.log(name, value, **options)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0."""
        self.trainer.print(*args, **kwargs)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Values of all ranks."""
        return self.trainer.strategy.all_gather(data)
