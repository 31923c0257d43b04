"""The view for callbacks of Lightning: a `Trainer` over a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from trackside.dialects import state_file
from trackside.dialects.lightning.loggers import LoggerView
from trackside.dialects.lightning.metrics import CallbackMetrics, as_tensor
from trackside.dialects.lightning.module import ModuleView
from trackside.dialects.lightning.ranks import Ranks
from trackside.dialects.lightning.settings import TrainerSettings
from trackside.dialects.lightning.states import TrainerState, call_of, stage_of, state_of
from trackside.dialects.lightning.strategy import Strategy
from trackside.dialects.view import epochs_of, so_far, validation_name
from trackside.errors import UsageError
from trackside.lifecycle.adoption import original
from trackside.run import Run

OVER = "__over__"
"""Where the views keep whether training is over."""
MODULE = "__module__"
"""Where they keep the model, if it is a `LightningModule`."""
RETURNED = "__returned__"
"""Where they keep the result of such a module's last step, for the hooks after it."""
PREDICT_LOOP = "__predict_loop__"
"""Where they keep the predictions of a pass."""
SCHEDULERS = "__schedulers__"
"""Where they keep those that a `LightningModule` moves by hand."""
SCHEDULER_SETTINGS = "__scheduler_settings__"
"""Where they keep what a `LightningModule` said of all of its schedulers."""
DATAMODULE = "__datamodule__"
"""Where they keep the data, if it is a `LightningDataModule`."""


class TrainerView(TrainerSettings, Ranks):
    """Stands for `trainer`: the run under the names of Lightning."""

    instead = {
        "fit": "a run can't be begun from its callbacks",
        "validate": "`run.evaluate(name)`, in a `trackside.Callback`",
        "test": "`run.evaluate(name)`, in a `trackside.Callback`",
        "predict": "after the run: `trainer.predict(data)`",
        "accelerator": "`Settings(device=...)` chooses the device; `DeviceStats` records its load",
        "profiler": "the callback `Profiler`",
        "validate_loop": "`run.evaluation` has the evaluation under way",
        "test_loop": "`run.evaluation` has the evaluation under way",
        "predictions": "`SavePredictions` writes predictions of each batch",
        "plugins": "callbacks; `Settings(strategy=...)` for ranks",
        "reset_train_dataloader": "data is made before a run; `BatchLimit` shortens an epoch",
        "tuner": "`LRFinder` finds learning rates",
        "max_time": "`StopAt(seconds=...)`",
        "overfit_batches": "`BatchLimit` shortens an epoch",
        "limit_predict_batches": "`BatchLimit` shortens an epoch",
    }

    def look_at(self, run: Run) -> None:
        """Show `run`, and its model as `pl_module`."""
        super().look_at(run)
        if "_module" not in vars(self):
            vars(self)["_module"] = ModuleView(self)
        vars(self)["_module"].look_at(run)

    # --- where the run is ---------------------------------------------------------------------

    @property
    def current_epoch(self) -> int:
        """Number of the epoch under way, from 0; when training is over, epochs completed."""
        return self.run.progress.epochs_closed if self.shared.get(OVER) else self.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps completed."""
        return self.run.progress.steps_completed

    @property
    def max_epochs(self) -> int:
        """Epochs of the run; -1 where steps limit it and the length of the data is unknown."""
        epochs = epochs_of(self.run)
        return -1 if epochs is None else epochs

    @property
    def max_steps(self) -> int:
        """Steps of the run; -1 where epochs limit it."""
        return -1 if self.run.limit.steps is None else self.run.limit.steps

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Steps until the run is complete; infinity where the length of the data is unknown."""
        total = self.run.limit.total_steps
        return math.inf if total is None else total

    min_epochs = property(lambda self: None, doc="None: a run ends when it is asked to.")
    min_steps = property(lambda self: None, doc="None: a run ends when it is asked to.")

    @property
    def should_stop(self) -> bool:
        """Whether a stop was requested; setting it requests one."""
        return self.stops

    @should_stop.setter
    def should_stop(self, wanted: bool) -> None:
        if not (wanted and self.stops):
            self.set_stop(bool(wanted))

    @property
    def state(self) -> TrainerState:
        """`fn`, `stage` and `status`."""
        return state_of(self.run)

    def _is_at(self, *stages: str) -> bool:
        return stage_of(self.run, self.run.evaluation) in stages

    @property
    def training(self) -> bool:
        """Whether it trains now."""
        return self._is_at("train")

    @property
    def validating(self) -> bool:
        """Whether it validates now."""
        return self._is_at("validate")

    @property
    def testing(self) -> bool:
        """Whether it tests now."""
        return self._is_at("test")

    @property
    def predicting(self) -> bool:
        """Whether it predicts now."""
        return self._is_at("predict")

    @property
    def sanity_checking(self) -> bool:
        """Whether a few batches are tried before training."""
        return self._is_at("sanity_check")

    @property
    def evaluating(self) -> bool:
        """Whether it validates or tests now."""
        return self._is_at("validate", "sanity_check", "test")

    @property
    def interrupted(self) -> bool:
        """Whether a person or the cluster ends the run."""
        return self.run.interrupted

    received_sigterm = interrupted

    # --- values --------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> CallbackMetrics:
        """The newest value of everything that was logged, as tensors."""
        return self.kept_metrics.refreshed()

    @property
    def kept_metrics(self) -> CallbackMetrics:
        """The same, without a look at what was recorded since."""
        shared = self.shared
        metrics: CallbackMetrics | None = shared.get("__metrics__")
        if metrics is None:
            aliases = shared.setdefault("__aliases__", {})
            metrics = shared["__metrics__"] = CallbackMetrics(self.run, aliases)
        return metrics

    logged_metrics = callback_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """The same as numbers."""
        return {name: float(v) for name, v in self.callback_metrics.items() if v.numel() == 1}

    progress_bar_dict = progress_bar_metrics

    def log(
        self, name: str, value: Any, *, weight: float | None = 1.0, recorded: bool = True
    ) -> None:
        """Log a number; `callback_metrics` has it at once, the next record its mean.

        Under `logged/` goes one that has the name of a value of the run's own, and one without a
        slash that comes when the pass over the training data is over.
        """
        if hasattr(value, "compute"):
            value = value.compute()
        self.callback_metrics.take({name: as_tensor(value)})
        if not recorded:
            return
        evaluation, run = self.run.evaluation, self.run
        place = "train" if evaluation is None else evaluation.name
        topic, metric = name.split("/", 1) if "/" in name else (place, name)
        own = {"loss"} if topic == "train" else {"loss", *run.config.get("metrics", ())}
        if topic in so_far(run, "data") and metric in own:
            name = f"logged/{topic}_{metric}"
        elif evaluation is None and "/" not in name and run.progress.epochs_completed > self.epoch:
            name = f"logged/{name}"  # the means of the epoch are made
        run.log(name, value, weight=weight)

    @property
    def predict_loop(self) -> Any:
        """The predictions of the pass under way, where a callback writes them."""
        return self.shared[PREDICT_LOOP]

    @property
    def logger(self) -> LoggerView:
        """The run's trackers."""
        return LoggerView(self)

    @property
    def loggers(self) -> list[LoggerView]:
        """The run's trackers, as one."""
        return [self.logger]

    @property
    def log_dir(self) -> str:
        """The run's folder."""
        return str(self.run.directory)

    default_root_dir = log_dir

    # --- ranks ---------------------------------------------------------------------------------

    @property
    def strategy(self) -> Strategy:
        """Collectives over ranks."""
        return Strategy(self)

    training_type_plugin = strategy

    num_devices = property(lambda self: 1, doc="Devices of this rank.")

    # --- parts ---------------------------------------------------------------------------------

    @property
    def lightning_module(self) -> Any:
        """The `pl_module` of hooks: the model itself, where it is a `LightningModule`."""
        own = self.shared.get(MODULE)
        return vars(self)["_module"] if own is None else own

    @property
    def model(self) -> Any:
        """The model; None before it is made."""
        return self.run.model if so_far(self.run, "models") else None

    @property
    def callbacks(self) -> list[Any]:
        """All callbacks, those of Trackside too."""
        return [original(callback) for callback in self.run.callbacks]

    @property
    def optimizers(self) -> list[Any]:
        """All optimizers."""
        return list(so_far(self.run, "optimizers").values())

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """All schedulers: `scheduler`, `interval`, `frequency`, `monitor`, `name`."""
        said = {id(one["scheduler"]): one for one in self.shared.get(SCHEDULER_SETTINGS, ())}
        configs = []
        for one in self.shared.get(SCHEDULERS, ()):
            configs.append(SimpleNamespace(scheduler=one, interval="epoch", **_named(said, one)))
        for moved in so_far(self.run, "schedulings").values():
            scheduler = getattr(moved.scheduler, "scheduler", moved.scheduler)
            configs.append(
                SimpleNamespace(
                    scheduler=scheduler,
                    interval=moved.interval,
                    monitor=moved.monitor,
                    reduce_on_plateau=moved.plateau,
                    strict=True,
                    **_named(said, scheduler),
                )
            )
        return configs

    @property
    def datamodule(self) -> Any:
        """The `LightningDataModule` that was given as data, or None."""
        return self.shared.get(DATAMODULE)

    def _loader(self, name: str | None) -> Any:
        source = so_far(self.run, "data").get(name or "")
        return None if source is None else source.loader

    def _loaders(self, call: str) -> Any:
        """The data that is evaluated: a loader, or a list of several; None where there is none."""
        if self.run.mode != "fit" and call_of(self.run) != call:
            return None
        found = [one.loader for name, one in so_far(self.run, "data").items() if name != "train"]
        if self.run.mode == "fit" and call != "validate":
            return None
        return found[0] if len(found) == 1 else (found or None)

    @property
    def train_dataloader(self) -> Any:
        """The loader of training."""
        return self._loader("train")

    @property
    def val_dataloaders(self) -> Any:
        """The loader of the validation, a list of several, or None."""
        return self._loaders("validate")

    @property
    def test_dataloaders(self) -> Any:
        """The loader of the test, or None."""
        return self._loaders("test")

    @property
    def predict_dataloaders(self) -> Any:
        """The loader of the prediction, or None."""
        return self._loaders("predict")

    def _batches(self, name: str | None) -> int | float:
        source = so_far(self.run, "data").get(name or "")
        if source is None:
            return 0
        return math.inf if source.batches is None else int(source.batches)

    @property
    def num_training_batches(self) -> int | float:
        """Batches of an epoch; infinity where that is unknown."""
        return self._batches("train")

    def _all_batches(self, call: str) -> list[int | float]:
        if self._loaders(call) is None:
            return []
        return [self._batches(name) for name in so_far(self.run, "data") if name != "train"]

    @property
    def num_val_batches(self) -> list[int | float]:
        """Batches of each loader of the validation."""
        return self._all_batches("validate")

    @property
    def num_test_batches(self) -> list[int | float]:
        """Batches of the test."""
        return self._all_batches("test")

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Batches of the prediction."""
        return self._all_batches("predict")

    @property
    def enable_validation(self) -> bool:
        """Whether there is data for validation."""
        return validation_name(self.run) is not None

    @property
    def accumulate_grad_batches(self) -> int:
        """Batches per step; setting it changes them from the next step on."""
        return self.run.accumulate

    @accumulate_grad_batches.setter
    def accumulate_grad_batches(self, batches: int) -> None:
        self.run.accumulate = batches

    def save_checkpoint(
        self, filepath: Any, weights_only: bool = False, storage_options: Any = None
    ) -> None:
        """Write weights, and states of optimizers and schedulers, to a file of safetensors."""
        if storage_options is not None:
            raise UsageError("lightning: `storage_options` has no equal here", remedy="leave it")
        everything = not weights_only
        state = state_file.state_of(
            self.run, self.run.model, optimizer=everything, scheduler=everything
        )
        state_file.save_on_rank_zero(self.run, filepath, state)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0."""
        if self.is_global_zero:
            print(*args, **kwargs)  # noqa: T201 - the callback asks for it


def _named(said: Mapping[int, Mapping[str, Any]], scheduler: Any) -> dict[str, Any]:
    """Name and frequency of a scheduler, where a module has said them."""
    settings = said.get(id(scheduler), {})
    return {"name": settings.get("name"), "frequency": settings.get("frequency", 1)}
