"""The built-in callbacks of Noether that watch a run, under their names and with their options."""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from trackside.callbacks.reporting.dataset_stats import DatasetStats
from trackside.callbacks.reporting.parameter_count import ParameterCount
from trackside.dialects.noether.bases import CallbackBase, CallBackBaseConfig, PeriodicCallback
from trackside.dialects.noether.counters import UpdateCounter
from trackside.dialects.values import is_number, on_host
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.lifecycle.adoption import Translated
from trackside.machine.accelerator import exact_dtype, memory_counters


class DatasetStatsCallback(Translated):
    """Sizes of the data sets, before training."""

    def __init__(self, **provided: Any) -> None:
        _check_provided(type(self), provided)
        super().__init__(DatasetStats())


class ParamCountCallback(Translated):
    """How many parameters are trained and frozen, before training."""

    def __init__(self, **provided: Any) -> None:
        _check_provided(type(self), provided)
        super().__init__(ParameterCount())


def _check_provided(kind: type, provided: Mapping[str, Any]) -> None:
    """Refuse more than their trainer gives to every callback. Raises `ConfigurationError`."""
    known = inspect.signature(CallbackBase).parameters
    for name in provided:
        if name not in known:
            raise ConfigurationError(
                f"`{kind.__name__}` has no option `{name}`: it looks once, before training",
                remedy="leave it out",
                option=name,
            )


class ProgressCallback(PeriodicCallback):
    """Logs how far the run is, the time of an update, and the time that is left."""

    def before_training(self, *, update_counter: UpdateCounter) -> None:
        self._began, self._first = perf_counter(), update_counter.update or 0

    def periodic_callback(self, *, update_counter: UpdateCounter, **_: Any) -> None:
        self.say(progress_of(update_counter, self._first, perf_counter() - self._began))

    def say(self, text: str) -> None:
        """Log a line, on rank 0."""
        if self.trainer.run.world.is_global_zero:
            self.logger.info(text)


class EtaCallback(ProgressCallback):
    """Writes the same line over itself on the terminal, where there is one."""

    def say(self, text: str) -> None:
        """Write a line, on rank 0."""
        if self.trainer.run.world.is_global_zero and sys.stderr.isatty():
            print(f"\r{text}", end="", file=sys.stderr, flush=True)  # noqa: T201 - its purpose


def progress_of(counter: UpdateCounter, first: int, seconds: float) -> str:
    """A line on a run that has taken `seconds` since its `first` update."""
    done, total = counter.update or 0, counter.end_iteration.update
    per_update = seconds / max(done - first, 1)
    left = "" if total is None else f", {(total - done) * per_update:.0f} s left"
    of = "" if total is None else f" of {total}"
    return (
        f"epoch {counter.epoch}, update {done}{of}, sample {counter.sample}, "
        f"{per_update:.3g} s per update{left}"
    )


class LrCallback(PeriodicCallback):
    """Writes learning rate and weight decay of each parameter group."""

    def periodic_callback(self, *, interval_type: str, **_: Any) -> None:
        if interval_type == "eval":
            return
        for name, group in self.trainer.run.parameter_groups:
            self.writer.add_scalar(f"optim/lr/{name}", group["lr"])
            if "weight_decay" in group:
                self.writer.add_scalar(f"optim/wd/{name}", group["weight_decay"])


class PeakMemoryCallback(PeriodicCallback):
    """Writes the most memory in use on the device since the last time, in GiB; nothing on a CPU."""

    def periodic_callback(self, **_: Any) -> None:
        device = self.trainer.device
        counters = memory_counters(device)
        if counters is not None:
            used = counters.max_memory_allocated(device)
            self.writer.add_scalar("profiling/peak_memory_gib", used / 2**30)
            counters.reset_peak_memory_stats(device)


class OnlineLossCallbackConfig(CallBackBaseConfig):
    """Configuration of `OnlineLossCallback`."""

    verbose: bool = True
    """Whether the mean is logged as a line, too."""


class OnlineLossCallback(PeriodicCallback):
    """Writes the mean training loss since the last time, over all ranks.

    A mean that is not finite ends the run.
    """

    def __init__(self, callback_config: OnlineLossCallbackConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.verbose = getattr(callback_config, "verbose", True)
        self._sums: dict[str, Tensor] = {}

    def track_after_accumulation_step(self, *, losses: dict[str, Any], **_: Any) -> None:
        for name, loss in losses.items():
            exact = loss.detach().to(exact_dtype(loss.device))
            pair = torch.stack((exact, torch.ones_like(exact)))
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def periodic_callback(self, **_: Any) -> None:
        sums = self.trainer.run.world.sum_by_name(self._sums)
        self._sums = {}
        for name, (total, count) in ((name, pair.tolist()) for name, pair in sums.items()):
            mean = total / count
            if mean - mean != 0:
                raise NonFiniteError(
                    f"the training loss {name!r} is {mean}",
                    remedy="lower the learning rate, or clip: `Trainer(clip=1.0)`",
                )
            key = f"loss/online/{name}/{self.to_short_interval_string()}"
            logger = self.logger if self.verbose else None
            self.writer.add_scalar(key, mean, logger=logger, format_str=".5f")


class TrainTimeCallback(PeriodicCallback):
    """Writes the mean seconds of an update since the last time, and of waiting for data in it."""

    def before_training(self, *, update_counter: UpdateCounter) -> None:
        self._began, self._updates, self._waited = perf_counter(), 0, 0.0

    def track_after_update_step(self, *, times: dict[str, float], **_: Any) -> None:
        self._updates += 1
        self._waited += times["data_time"]

    def periodic_callback(self, **_: Any) -> None:
        if self._updates:
            seconds = perf_counter() - self._began
            self.writer.add_scalar("profiling/train_time", seconds / self._updates)
            self.writer.add_scalar("profiling/data_time", self._waited / self._updates)
        self._began, self._updates, self._waited = perf_counter(), 0, 0.0


class TrackOutputsCallbackConfig(CallBackBaseConfig):
    """Configuration of `TrackOutputsCallback`."""

    keys: list[str] | None = None
    """Names of outputs to track."""
    patterns: list[str] | None = None
    """Parts of names: outputs whose name has one of them are tracked."""
    verbose: bool = False
    reduce: Literal["mean", "last"] = "mean"
    """Of the values since the last time."""
    log_output: bool = True
    """Whether they are written."""
    save_output: bool = False
    """Whether they are saved, in `outputs/<update>.safetensors` in the run's folder."""


class TrackOutputsCallback(PeriodicCallback):
    """Writes single numbers that the step returns beside the loss."""

    def __init__(self, callback_config: TrackOutputsCallbackConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.config = callback_config
        self._values: defaultdict[str, list[Any]] = defaultdict(list)

    def track_after_accumulation_step(
        self, *, update_outputs: dict[str, Any] | None, **_: Any
    ) -> None:
        for name, value in (update_outputs or {}).items():
            parts = self.config.patterns or ()
            wanted = name in (self.config.keys or ()) or any(part in name for part in parts)
            if wanted and is_number(value):
                self._values[name].append(value)

    def periodic_callback(self, *, update_counter: UpdateCounter, **_: Any) -> None:
        found = {name: [on_host(v) for v in values] for name, values in self._values.items()}
        self._values.clear()
        logger = self.logger if self.config.verbose else None
        for name, values in found.items():
            value = values[-1] if self.config.reduce == "last" else sum(values) / len(values)
            if self.config.log_output:
                key = f"{name}/{self.to_short_interval_string()}"
                self.writer.add_scalar(f"outputs/{key}", value, logger=logger)
        if self.config.save_output and found:
            self.checkpoint_writer.save_values(
                f"outputs/{update_counter.update}", {n: torch.tensor(v) for n, v in found.items()}
            )
