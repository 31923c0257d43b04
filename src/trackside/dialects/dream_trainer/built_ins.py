"""The built-in callbacks of Dream Trainer, under their names and with their options.

from trackside.dialects.dream_trainer import CheckpointCallback, CheckpointParameters
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trackside.callbacks.performance.graph_breaks import GraphBreaks
from trackside.callbacks.performance.tune_fsdp import TuneFSDP
from trackside.callbacks.reporting.model_summary import ModelSummary
from trackside.callbacks.reporting.progress_bar import ProgressBar as Bar
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects.dream_trainer.adapter import Callback, Result
from trackside.dialects.values import is_number
from trackside.errors import ConfigurationError
from trackside.lifecycle.adoption import Translated


def _only(name: str, value: object, default: object, remedy: str) -> None:
    """Refuse an option that would have no effect here."""
    if value != default:
        raise ConfigurationError(
            f"dream_trainer: `{name}={value!r}` has no equal here",
            expected=f"{name}={default!r}",
            remedy=remedy,
            option=name,
        )


class ProgressBar(Translated):
    """A live bar with the latest metrics.

    Args:
        smoothing: Only 0.1: the bar shows the rate since its last change.
        metric: Only None: the bar shows every metric that is logged.
    """

    def __init__(self, smoothing: float = 0.1, metric: str | None = None) -> None:
        _only("smoothing", smoothing, 0.1, "leave it out")
        _only("metric", metric, None, "leave it out: the bar shows all metrics")
        super().__init__(Bar())


@dataclass(kw_only=True)
class CheckpointParameters:
    """Settings of `CheckpointCallback`.

    Raises:
        ConfigurationError: Not exactly one frequency, or an option that has no equal here.
    """

    root_dir: str | Path = "checkpoints"
    """The folder, relative to the run's."""
    enable: bool = True
    """Whether anything is saved by itself."""
    resume_mode: Literal["last", "min", "max"] = "last"
    """Checkpoints that are kept: the newest, or those with the smallest or largest `monitor`.
    A run goes on from one with `fit(..., resume="auto")`, or `"best"`."""
    monitor: str = "train/loss"
    checkpoint_every_n_train_epochs: int | None = None
    checkpoint_every_n_val_epochs: int | None = None
    keep_top_k: int = 5
    """How many are kept."""
    strict_load: bool = False
    model_weights_only: bool = True
    pin_memory: bool = False
    resume_data: bool = True

    def __post_init__(self) -> None:
        given = (self.checkpoint_every_n_train_epochs, self.checkpoint_every_n_val_epochs)
        if sum(one is not None for one in given) != 1:
            raise ConfigurationError(
                "a checkpoint is due on one schedule",
                expected="exactly one of checkpoint_every_n_train_epochs, "
                "checkpoint_every_n_val_epochs",
                received=", ".join(str(one) for one in given),
            )
        _only("strict_load", self.strict_load, False, "a resume says what doesn't fit")
        _only("model_weights_only", self.model_weights_only, True, "leave it out")
        _only("pin_memory", self.pin_memory, False, "leave it out")
        _only("resume_data", self.resume_data, True, "a resume goes on in the data")

    @property
    def every(self) -> str:
        """The schedule."""
        n = self.checkpoint_every_n_train_epochs or self.checkpoint_every_n_val_epochs
        return f"{n} epochs"


class CheckpointCallback(Translated):
    """Saves checkpoints from which a run goes on exactly.

    Args:
        config: Its settings.
    """

    def __init__(self, config: CheckpointParameters) -> None:
        every = config.every if config.enable else None
        folder, at_end = str(config.root_dir), config.enable
        if config.resume_mode == "last":
            native = Checkpoint(every, keep_last=config.keep_top_k, folder=folder, at_end=at_end)
        else:
            native = Checkpoint(
                every,
                keep_last=1,
                keep_best=config.keep_top_k,
                monitor=config.monitor,
                mode=config.resume_mode,
                folder=folder,
                at_end=at_end,
            )
        super().__init__(native)


class ProfileCallback(Callback):
    """Steps a profiler of torch with training, and ends it with it.

    Args:
        profiler: `torch.profiler.profile(...)`, not started.
        memory_snapshot_enabled: Only False, and the two that follow only as they are.
        memory_snapshot_max_entries: Only 100000.
        memory_snapshot_output_dir: Only None.
    """

    def __init__(
        self,
        profiler: Any,
        *,
        memory_snapshot_enabled: bool = False,
        memory_snapshot_max_entries: int = 100_000,
        memory_snapshot_output_dir: str | Path | None = None,
    ) -> None:
        remedy = "use `trackside.callbacks.Profiler(memory_snapshot=True)`"
        _only("memory_snapshot_enabled", memory_snapshot_enabled, False, remedy)
        _only("memory_snapshot_max_entries", memory_snapshot_max_entries, 100_000, remedy)
        _only("memory_snapshot_output_dir", memory_snapshot_output_dir, None, remedy)
        self.profiler = profiler
        self._started = False

    def pre_fit(self) -> None:
        self.profiler.start()
        self._started = True

    def post_train_step(self, result: Result, batch_idx: int) -> None:
        self.profiler.step()

    def post_fit(self) -> None:
        if self._started:
            self._started = False
            self.profiler.stop()


class LoggerCallback(Callback):
    """Logs the single numbers in what the steps return.

    Args:
        log_every_n_train_batches: Training batches from one record to the next.
        log_every_n_val_batches: The same in the validation; None: none of its batches.
        code_dir: Only None: the run's folder has the commit, and the changes since.
    """

    def __init__(
        self,
        log_every_n_train_batches: int = 8,
        log_every_n_val_batches: int | None = None,
        code_dir: str | None = None,
    ) -> None:
        _only("code_dir", code_dir, None, "use `trackside.callbacks.Provenance`")
        self.every_train, self.every_val = log_every_n_train_batches, log_every_n_val_batches

    def post_train_step(self, result: Result, batch_idx: int) -> None:
        if self.trainer.local_batches % self.every_train == 0:
            self._log("train_step", result)

    def post_validation_step(self, result: Result, batch_idx: int) -> None:
        if self.every_val is not None and (batch_idx + 1) % self.every_val == 0:
            self._log("val_step", result)

    def _log(self, topic: str, result: Result) -> None:
        trainer: Any = self.trainer  # `LoggerMixin`, which every view is
        trainer.log_dict(
            {f"{topic}/{name}": value for name, value in result.items() if is_number(value)}
        )


class TrainerSummary(Translated):
    """A table of the models, before training.

    Args:
        depth: Levels of modules below the model.
    """

    def __init__(self, depth: int = 1) -> None:
        super().__init__(ModelSummary(depth=depth))


class FindGraphBreaksCallback(Translated):
    """Reports where a compiled model falls back to Python, into the run's folder.

    Args:
        log_file: Only `graph_breaks.log`: the report is in the run's folder.
        skip: Only 0.
        fullgraph: Only False.
    """

    def __init__(
        self, log_file: str = "graph_breaks.log", skip: int = 0, fullgraph: bool = False
    ) -> None:
        _only("log_file", log_file, "graph_breaks.log", "leave it out")
        _only("skip", skip, 0, "leave it out")
        _only("fullgraph", fullgraph, False, "give the trainer `Settings(compile=...)`")
        super().__init__(GraphBreaks())


class OptimizeFSDP(Translated):
    """Prefetches the parameters of the modules that come next, in the order that is observed.

    Args:
        prefetch: How many modules ahead.
        allocate_memory_from_process_group_for_comm: Only False.
        display: Only False.
        unshard_on_step: Only True.
    """

    def __init__(
        self,
        prefetch: int = 1,
        allocate_memory_from_process_group_for_comm: bool = False,
        display: bool = False,
        unshard_on_step: bool = True,
    ) -> None:
        name = "allocate_memory_from_process_group_for_comm"
        _only(name, allocate_memory_from_process_group_for_comm, False, "leave it out")
        _only("display", display, False, "leave it out")
        _only("unshard_on_step", unshard_on_step, True, "leave it out")
        super().__init__(TuneFSDP(forward=prefetch, backward=prefetch))
