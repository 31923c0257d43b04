"""The views for callbacks of pytorch-accelerated: trainer, run history, configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trackside.dialects import state_file
from trackside.dialects.sizes import rank_batch_size, total_batch_size
from trackside.dialects.values import is_number, on_host
from trackside.dialects.view import View, epochs_of, optimizer_of, so_far, validation_name
from trackside.errors import TracksideError, UnknownNameError, did_you_mean
from trackside.machine.paths import local_path
from trackside.run import Run

STATE_NAME = "training_state.safetensors"
"""File that `save_training_state` makes in its folder."""


RUN_HISTORY = "run_history"
"""Before the slash of metrics that callbacks add under the name of one that the run has."""


class UnknownMetricError(TracksideError, ValueError):
    """A callback asks the run history for a metric that has no value yet."""


class RunHistory:
    """Metrics under their names: those of Trackside's history, and those that callbacks add.

    Args:
        trainer: The view that it belongs to.
    """

    def __init__(self, trainer: TrainerView) -> None:
        self._trainer = trainer
        self._added: dict[str, list[Any]] = {}
        self._logged: set[str] = set()
        self._deleted: set[str] = set()
        self._prefix = ""
        self._forgotten = 0
        """Records of the run that a reset has left behind."""

    def get_metric_names(self) -> set[str]:
        """Names of all metrics: `train_loss_epoch`, `eval_loss_epoch`, `eval_accuracy`, ..."""
        return {*self._recorded(), *self._added} - self._deleted

    def get_metric_values(self, metric_name: str) -> list[Any]:
        """All values of a metric, oldest first."""
        if metric_name in self._added:
            return self._added[metric_name]
        full = self._recorded().get(metric_name)
        return [] if full is None else self._since_reset(full)

    def get_latest_metric(self, metric_name: str) -> Any:
        """The newest value of a metric.

        Raises:
            UnknownMetricError: It has none.
        """
        values = self.get_metric_values(metric_name)
        if not values:
            names = self.get_metric_names()
            raise UnknownMetricError(
                f"no value has been recorded for the metric {metric_name!r}",
                received=", ".join(sorted(names)) or "no metrics",
                remedy=did_you_mean(metric_name, names),
            )
        return values[-1]

    def update_metric(self, metric_name: str, metric_value: Any) -> None:
        """Add a value. A number is logged too: other callbacks and loggers see `val/accuracy`."""
        name = f"{self._prefix}{metric_name}"
        self._deleted.discard(name)
        self._added.setdefault(name, []).append(metric_value)
        if is_number(metric_value):
            full = self._full_name(name)
            self._logged.add(full)
            self._trainer.run.log(full, metric_value, weight=1.0)

    def delete_metric(self, metric_name: str) -> None:
        """Forget a metric."""
        self._added.pop(metric_name, None)
        self._deleted.add(metric_name)

    def set_metric_name_prefix(self, prefix: str = "") -> None:
        """Set the prefix of metrics that are added from now on."""
        self._prefix = prefix

    @property
    def metric_name_prefix(self) -> str:
        """The prefix of metrics that are added."""
        return self._prefix

    @property
    def current_epoch(self) -> int:
        """Number of the epoch, from 1; when no stop ended training, then the one after the last."""
        if self._trainer.shared.get("__over__"):
            return max(self._trainer.epoch, self._trainer.run.progress.epochs_closed) + 1
        return self._trainer.epoch + 1

    def reset(self) -> None:
        """Forget all metrics of the run so far; its own history keeps them."""
        self._added.clear()
        self._deleted.clear()
        self._forgotten = len(self._trainer.run.history)

    def _since_reset(self, full: str) -> list[float]:
        history = self._trainer.run.history
        records = (history[index] for index in range(self._forgotten, len(history)))
        return [record.values[full] for record in records if full in record.values]

    def _recorded(self) -> dict[str, str]:
        """Their names of what Trackside has recorded, and the full names."""
        run = self._trainer.run
        own = [name for name in run.history.names if name not in self._logged]
        if self._forgotten:
            own = [name for name in own if self._since_reset(name)]
        return {their_name(name, run): name for name in own}

    def _full_name(self, name: str) -> str:
        evaluated = validation_name(self._trainer.run)
        topic, metric = evaluated, name.removeprefix("eval_")
        if name.startswith("train_") or evaluated is None:
            topic, metric = "train", name.removeprefix("train_")
        # A metric of the run has values of its own under that name: these don't belong among them.
        own = {"loss", *self._trainer.run.config.get("metrics", ())}
        return f"{RUN_HISTORY if metric in own else topic}/{metric}"


def their_name(name: str, run: Run) -> str:
    """`eval_loss_epoch` for `val/loss`, `train_accuracy` for `train/accuracy`."""
    topic, _, metric = name.partition("/")
    if topic == "train":
        return "train_loss_epoch" if metric == "loss" else f"train_{metric}"
    if topic != validation_name(run):
        return name.replace("/", "_")
    if metric != "loss":
        return f"eval_{metric}"
    return "evaluation_loss" if run.mode == "evaluate" else "eval_loss_epoch"


class RunConfig(dict[str, Any]):
    """Settings of the run, by key or as attributes: what is known of them."""

    def __init__(self, run: Run) -> None:
        evaluated = validation_name(run)
        precision = run.config.get("precision")
        known = {
            "num_epochs": epochs_of(run),
            "train_per_device_batch_size": rank_batch_size(run, "train"),
            "eval_per_device_batch_size": rank_batch_size(run, evaluated),
            "gradient_accumulation_steps": run.accumulate,
            "gradient_clip_value": run.config.get("clip"),
            "train_total_batch_size": total_batch_size(run, "train"),
            "eval_total_batch_size": total_batch_size(run, evaluated),
            "num_update_steps_per_epoch": run.limit.epoch_steps,
            "num_local_update_steps_per_epoch": run.limit.epoch_steps,
            "max_num_train_steps": run.limit.total_steps,
            "is_local_process_zero": run.world.local_rank == 0,
            "is_world_process_zero": run.world.is_global_zero,
            "is_distributed": run.world.size > 1,
            "mixed_precision": "no" if precision in (None, "fp32") else precision,
            "num_processes": run.world.size,
            "train_dl_kwargs": {"batch_size": rank_batch_size(run, "train")},
            "eval_dl_kwargs": {"batch_size": rank_batch_size(run, evaluated)},
        }
        super().__init__(known)

    def __missing__(self, key: str) -> Any:
        raise UnknownNameError.among(self, key, "in the run configuration")

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"the run configuration has no {name!r}")
        return self[name]

    def to_dict(self) -> dict[str, Any]:
        """All settings."""
        return dict(self)


class LoaderView:
    """A loader that also reports the device of its batches."""

    def __init__(self, loader: Any, device: torch.device) -> None:
        self._loader = loader
        self.device = device

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":
            raise AttributeError(name)
        return getattr(self._loader, name)


class Accelerator(View):
    """Stands for `trainer._accelerator`."""

    dialect = "pytorch_accelerated"
    stands_for = "Accelerator"

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    @property
    def num_processes(self) -> int:
        """Ranks of the run."""
        return self.run.world.size

    @property
    def process_index(self) -> int:
        """Number of this rank."""
        return self.run.world.rank

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0."""
        return self.run.world.is_global_zero

    @property
    def is_local_main_process(self) -> bool:
        """Whether this is the first rank of its machine."""
        return self.run.world.local_rank == 0

    def unwrap_model(self, model: nn.Module, **_: Any) -> nn.Module:
        """The model itself, out of what wraps it over several ranks."""
        inner = getattr(model, "module", None)
        return inner if isinstance(inner, nn.Module) else model

    def wait_for_everyone(self) -> None:
        """Wait until every rank is here."""
        self.run.world.barrier()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once per machine."""
        if self.is_local_main_process:
            print(*args, **kwargs)  # noqa: T201 - what the callback asks for


class TrainerView(View):
    """Stands for their `Trainer`: what its documents and its own callbacks use, as a view."""

    dialect = "pytorch_accelerated"
    stands_for = "Trainer"
    instead: ClassVar[dict[str, str]] = {
        "train": "training is under way; to end it: raise `StopTrainingError`",
        "evaluate": "ask for it: `trainer.run.evaluate('val')`",
        "loss_func": "the trainer has it: `Trainer(loss=...)`",
        "_run_eval_epoch": "ask for it: `trainer.run.evaluate('val')`; for averaged weights use "
        "`trackside.callbacks.EMA`",
        "_loss_tracker": "losses are averaged by the run: `trainer.run.log(name, value)`; to "
        "evaluate within an epoch use `trackside.callbacks.Evaluate`",
        "_train_dataloader": "to use fewer batches, `trackside.callbacks.BatchLimit`",
        "_eval_dataloader": "to use fewer batches, `trackside.callbacks.BatchLimit`",
        "callback_handler": "add to it: `trainer.callback_handler.add_callback(...)`; to evaluate "
        "averaged weights use `trackside.callbacks.EMA`",
    }

    @property
    def model(self) -> nn.Module:
        """The model; setting it replaces the one that the steps call."""
        made = self.trainer_without_run
        return made.model if made is not None else self.run.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        run = self.run
        name = next(name for name, one in run.models.items() if one is run.model)
        run.models = {**run.models, name: model}

    @property
    def optimizer(self) -> Any:
        """The optimizer; None where there is none, as in `Trainer.evaluate`."""
        made = self.trainer_without_run
        return made.optimizer if made is not None else optimizer_of(self.run)

    @property
    def scheduler(self) -> Any:
        """The learning-rate scheduler, or None."""
        return next(iter(so_far(self.run, "schedulers").values()), None)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    @property
    def run_history(self) -> RunHistory:
        """Metrics of the run so far; callbacks may add to it."""
        found = self.shared.get("__history__")
        if found is None:
            found = self.shared["__history__"] = RunHistory(self)
        history: RunHistory = found
        return history

    @property
    def run_config(self) -> RunConfig | None:
        """Settings of the run: `run_config["num_epochs"]` or `run_config.num_epochs`.

        None in `on_init_end`.
        """
        return RunConfig(self.run) if self.trainer_without_run is None else None

    @property
    def _accelerator(self) -> Accelerator:
        accelerator = Accelerator()
        accelerator.look_at(self.run)
        return accelerator

    @property
    def _train_dataloader(self) -> LoaderView | None:
        return self._loader("train")

    @property
    def _eval_dataloader(self) -> LoaderView | None:
        return self._loader(validation_name(self.run))

    @property
    def train_dataset(self) -> Any:
        """The data set that is trained on, or None."""
        return getattr(self._train_dataloader, "dataset", None)

    @property
    def eval_dataset(self) -> Any:
        """The data set of the evaluation, or None."""
        return getattr(self._eval_dataloader, "dataset", None)

    def _loader(self, name: str | None) -> LoaderView | None:
        source = so_far(self.run, "data").get(name or "")
        return LoaderView(source.loader, self.run.device) if source is not None else None

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once per machine."""
        self._accelerator.print(*args, **kwargs)

    def gather(self, tensor: Tensor, padding_value: Any = None) -> Tensor:
        """The tensors of all ranks, joined along their first dimension; shapes may differ."""
        parts = self.run.world.gather(tensor if tensor.ndim else tensor.reshape(1))
        return torch.cat(parts)

    def get_model(self, keep_torch_compile: bool = True) -> nn.Module:
        """The model itself, out of what wraps it over several ranks."""
        return self._accelerator.unwrap_model(self.model)

    def save_checkpoint(
        self,
        save_path: str | Path,
        checkpoint_kwargs: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_scheduler: bool = True,
        save_per_node: bool = True,
    ) -> None:
        """Write weights, optimizer and scheduler to one file."""
        state = state_file.state_of(
            self.run, self.get_model(), optimizer=save_optimizer, scheduler=save_scheduler
        )
        state["kwargs"] = {name: on_host(v) for name, v in (checkpoint_kwargs or {}).items()}
        state_file.save_on_rank_zero(self.run, save_path, state)

    def load_checkpoint(
        self,
        checkpoint_path: str | Path,
        load_optimizer: bool = True,
        load_scheduler: bool = True,
    ) -> dict[str, Any]:
        """Restore the weights and optimizer of a saved file; returns its content."""
        state = state_file.read(checkpoint_path)
        state_file.restore(self.run, state, optimizer=load_optimizer, scheduler=load_scheduler)
        return {**state_file.under_their_keys(state), **state["kwargs"]}

    def save_training_state(
        self, output_dir: str | Path, checkpoint_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Write weights, optimizer and scheduler to one file in the folder `output_dir`."""
        kwargs = {"current_epoch": self.run_history.current_epoch, **(checkpoint_kwargs or {})}
        self.save_checkpoint(local_path(output_dir) / STATE_NAME, kwargs)

    def load_training_state(self, input_dir: str | Path) -> dict[str, Any]:
        """Restore the file that `save_training_state` wrote; returns the values saved beside it."""
        kwargs: dict[str, Any] = self.load_checkpoint(local_path(input_dir) / STATE_NAME)["kwargs"]
        return kwargs
