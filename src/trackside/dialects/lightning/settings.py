"""Settings of the trainer and what is looked up among callbacks, for `trainer`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.optim import Optimizer

from trackside.checkpoint.retention import Retention
from trackside.checkpoint.selection import best_valid
from trackside.dialects.view import View
from trackside.lifecycle.adoption import original
from trackside.run import Run
from trackside.step.optimization import Clip

LOG_EVERY = 50
"""Steps between records where the schedule isn't one of steps; theirs by default, too."""


IN_BATCH = "__in_batch__"
"""Where the views keep whether the batch in hand isn't counted yet."""


class TrainerSettings(View):
    """The attributes of `trainer` that say how it was made."""

    dialect = "lightning"
    stands_for = "Trainer"

    fast_dev_run = property(lambda self: False, doc="False: `fit(rehearse=True)` tries a run.")
    barebones = property(lambda self: False, doc="False.")
    check_val_every_n_epoch = property(lambda self: 1, doc="1: `fit(evaluate_every=...)`.")
    val_check_interval = property(lambda self: 1.0, doc="1.0: `fit(evaluate_every=...)`.")
    limit_train_batches = property(lambda self: 1.0, doc="1.0: see `BatchLimit`.")
    limit_val_batches = property(lambda self: 1.0, doc="1.0: see `BatchLimit`.")
    limit_test_batches = property(lambda self: 1.0, doc="1.0: see `BatchLimit`.")
    num_sanity_val_steps = property(lambda self: 0, doc="0: see `SanityCheck`.")
    num_nodes = property(lambda self: 1, doc="1: machines aren't counted.")
    node_rank = property(lambda self: 0, doc="0: machines aren't counted.")
    ckpt_path = property(lambda self: None, doc="None: `run.resumed_from` has it.")
    progress_bar_callback = property(lambda self: None, doc="None: see `ProgressBar`.")
    profiler = property(lambda self: None, doc="None: see `Profiler`.")

    @property
    def log_every_n_steps(self) -> int:
        """Steps from one record to the next; 50 where they are made on another schedule."""
        found = re.fullmatch(r"(?:every )?(\d+) steps?", str(self.run.config.get("log_every")))
        return int(found[1]) if found else LOG_EVERY

    @property
    def precision(self) -> str:
        """`32-true`, `16-mixed` or `bf16-mixed`."""
        ours = str(self.run.config.get("precision", "fp32"))
        return {"fp16": "16-mixed", "bf16": "bf16-mixed"}.get(ours, "32-true")

    @property
    def gradient_clip_val(self) -> float | None:
        """The limit of gradients; None where they aren't clipped."""
        clip = getattr(self.run.steps, "clip", None)
        return getattr(clip, "norm", None) or getattr(clip, "value", None)

    @property
    def gradient_clip_algorithm(self) -> str | None:
        """`norm` or `value`; None where gradients aren't clipped."""
        clip = getattr(self.run.steps, "clip", None)
        if clip is None:
            return None
        return "norm" if getattr(clip, "norm", None) is not None else "value"

    # --- the batch in hand ---------------------------------------------------------------------

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch in hand, or the one just counted, is the last of its epoch."""
        done = self.run.progress.epoch_batches_completed + self.shared.get(IN_BATCH, 0)
        return bool(done == self.run.data["train"].batches)

    @contextmanager
    def in_batch(self) -> Iterator[None]:
        """Within it, the batch in hand isn't counted yet."""
        self.shared[IN_BATCH] = 1
        try:
            yield
        finally:
            self.shared[IN_BATCH] = 0

    # --- among the callbacks -------------------------------------------------------------------

    def _among_callbacks(self, name: str) -> list[Any]:
        found = [original(callback) for callback in self.run.callbacks]
        return [c for c in found if any(cls.__name__ == name for cls in type(c).__mro__)]

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """All callbacks called `EarlyStopping`: theirs, or Trackside's."""
        return self._among_callbacks("EarlyStopping")

    @property
    def early_stopping_callback(self) -> Any:
        """The first of them, or None."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def checkpoint_callbacks(self) -> list[CheckpointView]:
        """The savers of checkpoints, under their names."""
        return [] if self.run.saver is None else [CheckpointView(self.run)]

    @property
    def checkpoint_callback(self) -> CheckpointView | None:
        """The first of them, or None."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def precision_plugin(self) -> SimpleNamespace:
        """Clips gradients, for modules that optimize by hand."""
        return SimpleNamespace(clip_gradients=clip_gradients)

    # --- what their own callbacks read of its insides ------------------------------------------

    @property
    def fit_loop(self) -> SimpleNamespace:
        """Counters of the loop, those that their built-ins read."""
        steps = self.run.progress.steps_completed
        return SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=steps))

    @property
    def _accelerator_connector(self) -> SimpleNamespace:
        return SimpleNamespace(is_distributed=self.run.world.size > 1)

    @property
    def _logger_connector(self) -> SimpleNamespace:
        due = (self.run.progress.steps_completed + 1) % self.log_every_n_steps == 0
        return SimpleNamespace(should_update_logs=due or self.run.stopping)


def clip_gradients(
    optimizer: Optimizer, clip_val: float = 0.0, gradient_clip_algorithm: str = "norm"
) -> None:
    """Limit the gradients of an optimizer."""
    if clip_val:
        kind = str(getattr(gradient_clip_algorithm, "value", gradient_clip_algorithm))
        limit = Clip(value=clip_val) if kind == "value" else Clip(norm=clip_val)
        limit(optimizer)


class CheckpointView(View):
    """Stands for a `ModelCheckpoint`: the callback `Checkpoint` of the run.

    Args:
        run: The run that it saves.
    """

    dialect = "lightning"
    stands_for = "ModelCheckpoint"
    refuses_settings = True
    instead = {
        "best_k_models": "`Checkpoint(keep_best=...)` keeps them on disk",
        "filename": "folders of checkpoints are called by their step",
    }

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.look_at(run)

    @property
    def dirpath(self) -> str:
        """The folder that has the checkpoints."""
        assert self.run.saver is not None  # made only where there is one
        return str(self.run.saver.root(self.run))

    @property
    def last_model_path(self) -> str:
        """The folder of the newest checkpoint; empty where there is none."""
        return str(getattr(self.run.saver, "last", None) or "")

    @property
    def monitor(self) -> str | None:
        """The value that ranks checkpoints, where one does."""
        return self._retention.monitor

    @property
    def mode(self) -> str:
        """`min` or `max`."""
        return self._retention.mode

    @property
    def best_model_path(self) -> str:
        """The folder of the best checkpoint; empty where there is none."""
        kept = self._retention
        if kept.monitor is None:
            return ""
        found = best_valid(Path(self.dirpath), kept.monitor, kept.mode, run_id=self.run.id)
        return "" if found is None else str(found.checkpoint.path)

    @property
    def best_model_score(self) -> torch.Tensor | None:
        """The best value of `monitor`, where one ranks checkpoints."""
        kept = self._retention
        best = kept.monitor and self.run.history.best(kept.monitor, kept.mode)
        return torch.tensor(best.value) if best else None

    @property
    def _retention(self) -> Retention:
        assert self.run.saver is not None
        retention: Retention = self.run.saver.retention
        return retention
