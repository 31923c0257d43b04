"""The views for callbacks of Noether: trainer, writer, data, checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from trackside.dialects import state_file
from trackside.dialects.noether.counters import TrainingIteration, UpdateCounter
from trackside.dialects.noether.passes import dataset_of
from trackside.dialects.noether.records import written_by
from trackside.dialects.values import as_mapping, on_host
from trackside.dialects.view import View, optimizer_of
from trackside.errors import UnknownNameError, UsageError
from trackside.lifecycle.adoption import original
from trackside.vocabulary.directions import direction

UPDATED = "__updated__"
"""Key of the batches that were complete with the last update."""

OVER = "__over__"
"""Key of whether training is over, and what was written is flushed."""


class _NoetherView(View):
    dialect = "noether"


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """Settings of their trainer, as far as callbacks look at them."""

    skip_nan_loss: bool = False
    """Whether a loss that is NaN is left alone: `Settings(non_finite=...)` says what happens."""


@dataclass(frozen=True, slots=True)
class TrainerResult:
    """The loss of a step and its outputs."""

    total_loss: Tensor
    additional_outputs: dict[str, Any] | None
    """Values that it returned beside the loss."""
    losses_to_log: dict[str, Tensor] | None = None
    """Always None: parts of a loss that a step returns are among the outputs."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Folders of the run."""

    run_output_path: Path

    @property
    def run_id(self) -> str:
        """Name of the folder of the run."""
        return self.run_output_path.name

    @property
    def checkpoint_path(self) -> Path:
        """Where checkpoints of callbacks are."""
        return self.run_output_path / "checkpoints"


class TrainerView(_NoetherView):
    """Stands for `self.trainer`."""

    stands_for = "Trainer"
    instead: ClassVar[dict[str, str]] = {
        "train": "training is under way; to end it: raise `EarlyStopIteration`",
        "loss_compute": "override `training_step` of `trackside.Trainer`",
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
    def device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    @property
    def total_training_updates(self) -> int | None:
        """Updates of the whole training; None where that isn't known."""
        return self.run.limit.total_steps

    @property
    def end_checkpoint(self) -> TrainingIteration:
        """Where training ends: epochs, updates, samples; None for what isn't known."""
        return UpdateCounter.of(self.run).end_iteration

    @property
    def config(self) -> TrainerConfig:
        """Settings of the trainer that callbacks look at."""
        return TrainerConfig()

    @property
    def update_counter(self) -> UpdateCounter:
        """Counters of the run now."""
        return UpdateCounter.of(self.run)

    def train_step(self, batch: Any, model: nn.Module) -> TrainerResult:
        """The step of the run for a batch: its loss, and what else it returns.

        Raises:
            UsageError: `model` isn't the one that is trained.
        """
        inner = getattr(model, "module", model)
        if self.run.model not in (model, inner):
            raise UsageError(
                "noether: a step of the run is one of its own model",
                received=type(model).__name__,
                remedy="call the model itself: `model(...)`",
            )
        returned = as_mapping(self.run.steps.training_step(self.run, batch))
        return TrainerResult(returned.pop("loss"), returned or None)

    @property
    def callbacks(self) -> list[Any]:
        """All callbacks of the run, in order; those of other frameworks themselves."""
        return [original(callback) for callback in self.run.callbacks]


class Writer(_NoetherView):
    """Stands for `self.writer`: what it is given becomes part of the run's records.

    Args:
        data_key: Name of the data that the callback is about: topic of names without a slash.
    """

    stands_for = "LogWriter"
    instead: ClassVar[dict[str, str]] = {
        "add_histogram": "use `trackside.callbacks.gradients`, or `run.log` its moments",
        "flush": "records are written when they are made",
    }

    def __init__(self, data_key: str | None) -> None:
        super().__init__()
        vars(self)["data_key"] = data_key

    @property
    def log_cache(self) -> dict[str, float]:
        """Values that the run has recorded, or callbacks have written, in this update."""
        history, step = self.run.history, self._update
        recorded: dict[str, float] = {}
        for place in reversed(range(len(history))):
            record = history[place]
            if record.step != step:
                break
            recorded = {**record.values, **recorded}
        return {**recorded, **self._written}

    @property
    def _update(self) -> int:
        """Number of the update under way, else of the last one."""
        progress = self.run.progress
        under_way = progress.batches_completed > self.shared.get(UPDATED, 0)
        return progress.steps_completed + bool(under_way or self.shared.get(OVER))

    @property
    def _written(self) -> dict[str, float]:
        step = self._update
        if self.shared.get("__cache__", (None, {}))[0] != step:
            self.shared["__cache__"] = (step, {})
        cache: dict[str, float] = self.shared["__cache__"][1]
        return cache

    def add_scalar(
        self,
        key: str,
        value: Tensor | float,
        logger: logging.Logger | None = None,
        format_str: str | None = None,
    ) -> None:
        """Log a number; it is recorded when the hook of the callback is over.

        Args:
            key: Its name; without a slash, it goes under the callback's data set, else `train/`.
            value: A number or a tensor of one element.
            logger: A logger that gets the number as well.
            format_str: The format of the number in that message, such as `.4f`.
        """
        name = key
        if "/" not in key:
            name = f"{vars(self)['data_key'] or 'train'}/{key}"
        self._written[key] = number = float(on_host(value))
        written_by(self.run).setdefault(name, []).append(number)
        if logger is not None:
            logger.info("%s: %s", key, format(number, format_str or ""))


class DataContainer(_NoetherView):
    """Stands for `self.data_container`: the data sets of the run, by name."""

    stands_for = "DataContainer"

    @property
    def datasets(self) -> dict[str, Any]:
        """All data sets of the run that have items, by name."""
        loaders = {name: source.loader for name, source in self.run.data.items()}
        return {n: one.dataset for n, one in loaders.items() if hasattr(one, "dataset")}

    def get_dataset(
        self, key: str | None = None, properties: Any = None, max_size: int | None = None
    ) -> Any:
        """The data set named `key`; without a key the first one.

        Args:
            key: Its name in `fit`: `train`, `val`, or a key of `data=`.
            properties: Not supported: a data set gives its items as they are.
            max_size: Only its first so many items.
        """
        name = key if key is not None else next(iter(self.run.data))
        dataset = dataset_of(self.run, name)
        if max_size is None or max_size >= len(dataset):
            return dataset
        return Subset(dataset, range(max_size))


class CheckpointWriter(_NoetherView):
    """Stands for `self.checkpoint_writer`."""

    stands_for = "CheckpointWriter"

    @property
    def path_provider(self) -> Paths:
        """Folders of the run."""
        return Paths(self.run.directory)

    def save(
        self,
        model: nn.Module,
        checkpoint_tag: object,
        trainer: Any = None,
        save_weights: bool = True,
        save_optim: bool = True,
        save_latest_weights: bool = False,
        save_latest_optim: bool = False,
        model_names_to_save: list[str] | None = None,
        save_frozen_weights: bool = True,
        model_info: str | None = None,
    ) -> Path:
        """Write `checkpoints/<tag>.safetensors` in the run's folder, and what `latest` asks for.

        Args:
            model: Whose weights are written.
            checkpoint_tag: Name of the file: a word, or `update_counter.cur_iteration`.
            trainer: Not needed: counters, optimizers and schedulers are those of the run.
            save_weights: Whether the file has the weights.
            save_optim: Whether it has the states of optimizers and schedulers.
            save_latest_weights: Whether `latest.safetensors`, replaced each time, has the weights.
            save_latest_optim: Whether it has the states of optimizers and schedulers.
            model_names_to_save: Parts of the model to write, by their names; none of them: all.
            save_frozen_weights: Whether parameters that aren't trained are written.
            model_info: A word to put before the tag, such as `ema`.

        Returns:
            The path of the file with the tag.

        Raises:
            UnknownNameError: The model has no part of a name in `model_names_to_save`.
        """
        keys = _written_keys(model, model_names_to_save, save_frozen_weights)
        prefix = f"{model_info}_" if model_info else ""
        path = self._path(f"{prefix}{checkpoint_tag}")
        self._write(path, model, keys, weights=save_weights, optim=save_optim)
        latest = self._path(f"{prefix}latest")
        self._write(latest, model, keys, weights=save_latest_weights, optim=save_latest_optim)
        return path

    def save_model_checkpoint(
        self,
        model_name: str,
        checkpoint_tag: object,
        state_dict: dict[str, Tensor],
        model_config: Any = None,
        model_info: str | None = None,
        **extra: Any,
    ) -> Path:
        """Write a state of one's own: `checkpoints/<name>_<info>_<tag>.safetensors`.

        Args:
            model_name: Name of the model, or of a part of it.
            checkpoint_tag: A word, or `update_counter.cur_iteration`.
            state_dict: Tensors by name.
            model_config: Not needed: the run's folder has the configuration.
            model_info: What kind of weights they are, such as `ema=0.99`.
            extra: What they were made with; the name of the file says it.

        Returns:
            The path of the file.
        """
        parts = [part for part in (model_name, model_info, str(checkpoint_tag)) if part]
        path = self._path("_".join(parts))
        state_file.save_on_rank_zero(self.run, path, {"model": dict(state_dict)})
        return path

    def save_values(self, name: str, values: dict[str, Tensor]) -> Path:
        """Write tensors to `<name>.safetensors` in the run's folder, on rank 0."""
        path = self.run.directory / f"{name}.safetensors"
        state_file.save_on_rank_zero(self.run, path, values)
        return path

    def _path(self, tag: str) -> Path:
        return self.run.directory / "checkpoints" / f"{tag}.safetensors"

    def _write(
        self, path: Path, model: nn.Module, keys: set[str], *, weights: bool, optim: bool
    ) -> None:
        if not weights and not optim:
            return
        state = state_file.state_of(self.run, model, optimizer=optim, scheduler=optim)
        if weights:
            state["model"] = {k: v for k, v in state["model"].items() if k in keys}
        else:
            del state["model"]
        state_file.save_on_rank_zero(self.run, path, state)


class Tracker(_NoetherView):
    """Stands for `self.tracker`; trackers are callbacks that get every record."""

    stands_for = "Tracker"
    instead: ClassVar[dict[str, str]] = {
        "log": "`self.writer.add_scalar(key, value)`: every tracker gets it"
    }

    def set_summary(self, key: str, value: Any) -> None:
        """Record a number that holds for the whole run."""
        self.update_summary({key: value})

    def update_summary(self, summary: Mapping[str, Any]) -> None:
        """Record numbers that hold for the whole run: every tracker gets them."""
        for key, value in summary.items():
            if isinstance(value, (int, float)):
                self.run.log(key if "/" in key else f"summary/{key}", float(value), weight=1.0)


class MetricPropertyProvider:
    """Stands for `self.metric_property_provider`: which direction of a metric is better."""

    def higher_is_better(self, key: str) -> bool:
        """Whether larger values are better, to judge by the name.

        Raises:
            UsageError: The name doesn't say.
        """
        mode = direction(f"/{key}")  # `loss/test/total`: every word counts
        if mode is None:
            raise UsageError(
                f"noether: which way {key!r} is better isn't clear from its name",
                remedy=f"say so: `trackside.declare_direction({key!r}, 'max')`",
            )
        return mode == "max"

    def lower_is_better(self, key: str) -> bool:
        """Whether smaller values are better, to judge by the name."""
        return not self.higher_is_better(key)


def _written_keys(model: nn.Module, names: list[str] | None, frozen: bool) -> set[str]:
    if not names or getattr(model, "name", None) in names:
        names = None  # the whole model, by its own name too
    parts = dict(model.named_modules())
    for name in names or ():
        if name not in parts:
            raise UnknownNameError.among([n for n in parts if n], name, "in the model")
    left_out = set() if frozen else {n for n, p in model.named_parameters() if not p.requires_grad}
    return {
        key
        for key in model.state_dict()
        if key not in left_out and (names is None or key.startswith(tuple(f"{n}." for n in names)))
    }
