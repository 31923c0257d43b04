"""The views for callbacks of Noether: counters, writer, data, and passes over a data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Subset

from trackside import randomness
from trackside.data.batches import move
from trackside.dialects import state_file
from trackside.dialects.values import on_host
from trackside.dialects.view import View, optimizer_of
from trackside.errors import DataError, UnknownDataError
from trackside.run import Run
from trackside.step.evaluation import evaluating, in_order


@dataclass(frozen=True, slots=True)
class TrainingIteration:
    """Counters of completed epochs, updates and samples."""

    epoch: int | None = None
    update: int | None = None
    sample: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateCounter:
    """Counters of the run at one moment; all count what is completed."""

    cur_iteration: TrainingIteration
    end_iteration: TrainingIteration
    updates_per_epoch: int | None
    effective_batch_size: int | None

    @classmethod
    def of(cls, run: Run) -> UpdateCounter:
        """The counters of `run` now."""
        progress, limit = run.progress, run.limit
        size = (
            getattr(run.data["train"].loader, "batch_size", None) if "train" in run.data else None
        )
        return cls(
            TrainingIteration(
                progress.epochs_completed, progress.steps_completed, progress.samples_completed
            ),
            TrainingIteration(limit.epochs, limit.total_steps),
            limit.epoch_steps,
            size * run.accumulate * run.world.size if isinstance(size, int) else None,
        )

    @property
    def epoch(self) -> int | None:
        """Epochs completed."""
        return self.cur_iteration.epoch

    @property
    def update(self) -> int | None:
        """Updates completed."""
        return self.cur_iteration.update

    @property
    def sample(self) -> int | None:
        """Samples completed, over all ranks."""
        return self.cur_iteration.sample


class _NoetherView(View):
    dialect = "noether"


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
    def optimizer(self) -> Optimizer | None:
        """The optimizer; None where there is none, as in `Trainer.evaluate`."""
        return optimizer_of(self.run)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    @property
    def update_counter(self) -> UpdateCounter:
        """Counters of the run now."""
        return UpdateCounter.of(self.run)

    @property
    def callbacks(self) -> list[Any]:
        """All callbacks of the run, in order."""
        return list(self.run.callbacks)


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
        """The newest value under each key that callbacks have written."""
        cache: dict[str, float] = self.shared.setdefault("__cache__", {})
        return cache

    def add_scalar(
        self,
        key: str,
        value: Tensor | float,
        logger: logging.Logger | None = None,
        format_str: str | None = None,
        **_: Any,
    ) -> None:
        """Log a number.

        Args:
            key: Its name; without a slash, it goes under the callback's data set, else `train/`.
            value: A number or a tensor of one element.
            logger: A logger that gets the number as well.
            format_str: The format of the number in that message, such as `.4f`.
        """
        name = key
        if "/" not in key and vars(self)["data_key"] is not None:
            name = f"{vars(self)['data_key']}/{key}"
        self.log_cache[key] = on_host(value)
        self.run.log(name, value, weight=1.0)
        if logger is not None:
            logger.info("%s: %s", key, format(self.log_cache[key], format_str or ""))


class DataContainer(_NoetherView):
    """Stands for `self.data_container`: the data sets of the run, by name."""

    stands_for = "DataContainer"

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

    def save(self, model: nn.Module, checkpoint_tag: str, **_: Any) -> Path:
        """Write the weights of `model` to `checkpoints/<tag>.safetensors` in the run's folder."""
        path = self.run.directory / "checkpoints" / f"{checkpoint_tag}.safetensors"
        state = state_file.state_of(self.run, model, optimizer=False, scheduler=False)
        state_file.save_on_rank_zero(self.run, path, state)
        return path


class Tracker(_NoetherView):
    """Stands for `self.tracker`; trackers are callbacks that get every record."""

    stands_for = "Tracker"
    instead: ClassVar[dict[str, str]] = {
        "log": "`self.writer.add_scalar(key, value)`: every tracker gets it"
    }


class MetricPropertyProvider:
    """Stands for `self.metric_property_provider`: which direction of a metric is better."""

    HIGHER: ClassVar[tuple[str, ...]] = ("acc", "auc", "auroc", "f1", "iou", "precision", "recall")

    def higher_is_better(self, key: str) -> bool:
        """Whether larger values are better, to judge by the name."""
        return any(word in key.lower() for word in self.HIGHER)

    def lower_is_better(self, key: str) -> bool:
        """Whether smaller values are better, to judge by the name."""
        return not self.higher_is_better(key)


# --- passing over a data set -------------------------------------------------------------------


@dataclass(kw_only=True)
class SamplerIntervalConfig:
    """The way a callback passes over its data; by default, as evaluations do.

    Args:
        sampler: Indices of the items, in order; batches of them are dealt out to the ranks. None:
            the data as it is.
        batch_size: Items of a batch; None takes that of the data.
        pipeline: Makes a batch of a list of items; None takes that of the data.
        every_n_epochs: As in the configuration of the callback, which decides.
        every_n_updates: As in the configuration of the callback, which decides.
        every_n_samples: As in the configuration of the callback, which decides.
    """

    sampler: Iterable[int] | None = None
    batch_size: int | None = None
    pipeline: Callable[[list[Any]], Any] | None = None
    every_n_epochs: int | None = None
    every_n_updates: int | None = None
    every_n_samples: int | None = None


def source_of(run: Run, key: str) -> Any:
    """The data named `key`. Raises `ConfigurationError` when no data has that name."""
    if key not in run.data:
        raise UnknownDataError.among(
            run.data, key, "that a callback asks for", option="dataset_key"
        )
    return run.data[key]


def dataset_of(run: Run, key: str) -> Any:
    """The data set behind the data named `key`.

    Raises:
        ConfigurationError: There is no data of that name.
        DataError: It has no items that can be picked by index.
    """
    source = source_of(run, key)
    dataset = getattr(source.loader, "dataset", None)
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"items of the data named {key!r} can't be picked",
            expected="a map-style data set, or a DataLoader of one",
            received=type(source.data).__name__,
        )
    return dataset


def pass_over(
    run: Run, key: str, sampling: SamplerIntervalConfig, process: Callable[[Any], Any]
) -> Any:
    """Pass over a data set, dealt out to the ranks, and collate what `process` returned.

    Each item counts once. The model evaluates meanwhile; modes and random generators are as they
    were afterwards.

    Returns:
        On every rank, for the whole data set and in its order: tensors joined along their first
        dimension, scalars stacked, lists joined, other values as a list over batches; inside of
        dicts and tuples too.
    """
    kept: list[Any] = []
    with evaluating(run.models), _dealt(run, key, sampling) as batches:
        for batch, counts in batches:
            batch = move(batch, run.device)
            if counts:
                kept.append(_plain(process(batch)))
            else:  # the others have a batch left: take part in it, keep nothing
                with run.discarding():
                    process(batch)
    kept = in_order(run, kept)
    if not kept:
        raise DataError(f"the data named {key!r} is empty", expected="at least one item")
    return _collate(kept, run.device)


@contextmanager
def _dealt(
    run: Run, key: str, sampling: SamplerIntervalConfig
) -> Iterator[Iterator[tuple[Any, bool]]]:
    """The batches of this rank, and whether each counts or fills up a last round."""
    source = source_of(run, key)
    if sampling.sampler is None and sampling.batch_size is None and sampling.pipeline is None:
        with source.aside() as batches:
            yield ((batch.data, batch.origin.counts) for batch in batches)
        return
    dataset, loader, size, rank = (
        dataset_of(run, key),
        source.loader,
        run.world.size,
        run.world.rank,
    )
    indices = list(range(len(dataset)) if sampling.sampler is None else sampling.sampler)
    step = sampling.batch_size or loader.batch_size or 1
    groups = [indices[start : start + step] for start in range(0, len(indices), step)]
    own = [turn * size + rank for turn in range(-(-len(groups) // size))]
    batches = DataLoader(
        dataset,
        batch_sampler=[groups[min(number, len(groups) - 1)] for number in own],
        collate_fn=sampling.pipeline or getattr(loader, "collate_fn", None),
    )
    with randomness.preserved():
        yield ((b, number < len(groups)) for b, number in zip(batches, own, strict=True))


def _plain(result: Any) -> Any:
    """`result` as what ranks can send each other: on the host, tuples marked."""
    if isinstance(result, Tensor):
        return result.detach().cpu()
    if isinstance(result, Mapping):
        return {"dict": {str(name): _plain(value) for name, value in result.items()}}
    if isinstance(result, tuple):
        return {"tuple": [_plain(value) for value in result]}
    return result


def _collate(results: list[Any], device: torch.device) -> Any:
    first = results[0]
    if isinstance(first, dict):
        (kind,) = first
        names = first[kind] if kind == "dict" else range(len(first[kind]))
        parts = {name: _collate([r[kind][name] for r in results], device) for name in names}
        return parts if kind == "dict" else tuple(parts.values())
    if isinstance(first, Tensor):
        return (torch.cat(results) if first.ndim else torch.stack(results)).to(device)
    if isinstance(first, list):
        return [item for result in results for item in result]
    return results
