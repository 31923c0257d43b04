"""Counters of a run, as callbacks of Noether see them."""

from __future__ import annotations

from dataclasses import dataclass

from trackside.dialects.sizes import effective_batch_size
from trackside.errors import UsageError
from trackside.run import Run


@dataclass(frozen=True, slots=True)
class TrainingIteration:
    """Counters of completed epochs, updates and samples."""

    epoch: int | None = None
    update: int | None = None
    sample: int | None = None

    def __str__(self) -> str:
        """The tag of a checkpoint at this moment, such as `E1_U3_S10`."""
        return f"E{self.epoch}_U{self.update}_S{self.sample}"


@dataclass(frozen=True, slots=True)
class UpdateCounter:
    """Counters of the run at one moment; all count what is completed."""

    cur_iteration: TrainingIteration
    end_iteration: TrainingIteration
    updates_per_epoch: int | None
    effective_batch_size: int | None
    """Samples of an update, over all ranks."""

    @classmethod
    def of(cls, run: Run, *, samples: int | None = None) -> UpdateCounter:
        """The counters of `run` now.

        Args:
            run: The run.
            samples: Samples of the updates that are complete, where one is under way.
        """
        progress, limit = run.progress, run.limit
        epochs = progress.epochs_completed
        if limit.epoch_steps and progress.steps_completed // limit.epoch_steps > epochs:
            epochs += 1  # an epoch counts with its last update; here, when its training is over
        return cls(
            TrainingIteration(
                epochs,
                progress.steps_completed,
                progress.samples_completed if samples is None else samples,
            ),
            TrainingIteration(limit.epochs, limit.total_steps),
            limit.epoch_steps,
            effective_batch_size(run),
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

    @property
    def epoch_as_float(self) -> float:
        """Epochs completed, with the part of the one under way.

        Raises:
            UsageError: The data has no length.
        """
        return (self.update or 0) / self._updates_per_epoch("epoch_as_float")

    @property
    def is_full_epoch(self) -> bool:
        """Whether an epoch has just been completed.

        Raises:
            UsageError: The data has no length.
        """
        return (self.update or 0) % self._updates_per_epoch("is_full_epoch") == 0

    @property
    def is_finished(self) -> bool:
        """Whether the run has taken all its steps, or all its epochs."""
        end = self.end_iteration
        if end.update is not None:
            return (self.update or 0) >= end.update
        return end.epoch is not None and (self.epoch or 0) >= end.epoch

    def _updates_per_epoch(self, asked: str) -> int:
        if self.updates_per_epoch is None:
            raise UsageError(
                f"noether: `update_counter.{asked}` isn't known",
                received="data without a length",
                remedy="count updates instead: `update_counter.update`",
            )
        return self.updates_per_epoch
