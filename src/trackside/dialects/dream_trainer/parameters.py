"""Settings, world and metrics of a run, as callbacks of Dream Trainer look at them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trackside.dialects.view import UnknownAttributeError, epochs_of
from trackside.distributed.world import World
from trackside.run import Run


class TrainingParameters:
    """Settings of the training, which a callback only reads.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        vars(self).update(
            n_epochs=epochs_of(run),
            train_steps_per_epoch=run.limit.epoch_steps,
            gradient_accumulation_steps=run.accumulate,
            val_steps_per_epoch=None,
            val_every_n_steps=None,
            gradient_clip_val=run.config.get("clip"),
        )

    def __getattr__(self, name: str) -> Any:
        raise UnknownAttributeError(
            f"dream_trainer: `training_parameters` here have no `{name}`",
            remedy="settings of the run are `self.trainer.run.config`",
        )

    def __setattr__(self, name: str, value: Any) -> None:
        raise UnknownAttributeError(
            f"dream_trainer: `training_parameters.{name}` can't be set by a callback",
            remedy="to measure a run use `trackside.callbacks.Profiler`, `Benchmark` or "
            "`GraphBreaks`; checks before training are `SanityCheck`",
        )


class WorldView:
    """The ranks of the run; beside what a `World` has, the size of data parallelism.

    Args:
        world: The world of the run.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def dp_size(self) -> int:
        """Ranks that share the data: all."""
        return self._world.size

    @property
    def dp_rank(self) -> int:
        """Number of this rank among them."""
        return self._world.rank

    def __getattr__(self, name: str) -> Any:
        if name == "_world":
            raise AttributeError(name)
        return getattr(self._world, name)


class EvaluatedMetric:
    """A metric of the last evaluation: its value over all ranks is computed already."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def compute(self) -> Tensor:
        """The value."""
        return torch.as_tensor(self._value)

    def reset(self) -> None:
        """Do nothing: each evaluation computes its own values."""
