"""`trainer.predict_loop`: predictions of a pass, for callbacks that write them at its end."""

from __future__ import annotations

from typing import Any

from torch.utils.data import SequentialSampler

from trackside.run import Run
from trackside.step.evaluation import PREDICT

WRITER = "BasePredictionWriter"
"""Class of theirs whose subclasses read the loop."""


class PredictLoop:
    """Predictions of a pass, and which samples they are of.

    Args:
        run: The run that predicts.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._samples = 0
        self.predictions: list[Any] = []
        """Predictions of each batch."""
        self.epoch_batch_indices: list[Any] = [[]]
        """Numbers of the samples of each batch, in a list for the one loader; None where its
        sampler draws."""

    @property
    def current_batch_indices(self) -> list[int] | None:
        """Numbers of the samples of the last batch; None where the loader's sampler draws."""
        batches: list[list[int] | None] = self.epoch_batch_indices[0]
        return batches[-1] if batches else None

    def add(self, predictions: Any, samples: int) -> None:
        """Keep the predictions of a batch of so many samples."""
        loader = self._run.data[PREDICT].loader
        data = getattr(self._run.data[PREDICT].data, "sampler", getattr(loader, "sampler", None))
        in_order = isinstance(data, SequentialSampler) and self._run.world.size == 1
        numbers = list(range(self._samples, self._samples + samples)) if in_order else None
        self._samples += samples
        self.predictions.append(predictions)
        self.epoch_batch_indices[0].append(numbers)
