"""An evaluation of another trainer: its batches and values in, hooks out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from trackside.data.counting import counted
from trackside.lifecycle.hooks import Callback
from trackside.loop.recording import flush
from trackside.loop.spans import EvaluationSpan
from trackside.loop.state import Training
from trackside.loop.unlogged import report_unlogged
from trackside.run import Evaluation

PREFIXES = ("val", "valid", "validation", "eval", "test")
"""First words of names that trainers give to values of an evaluation."""


class GuestEvaluation:
    """One evaluation of another trainer.

    Args:
        training: The run.
        name: The name of its data.
    """

    def __init__(self, training: Training, name: str) -> None:
        self._training = training
        self.evaluation = Evaluation(name)
        """The evaluation as callbacks see it."""
        self._span = EvaluationSpan(training, self.evaluation)
        self._stack = ExitStack()

    def begin(self) -> None:
        """Callbacks hear that it begins; they may put averages in the place of the weights."""
        self._stack.enter_context(self.evaluation.exits)
        self._span.begin()

    def batch_start(self, batch: Any) -> None:
        """A batch begins."""
        hook = Callback.on_evaluation_batch_start
        self._training.setup.events.transform(hook, batch, self.evaluation)

    def batch_end(self, batch: Any, returned: Any) -> None:
        """A batch is evaluated."""
        self.evaluation.batches_completed += 1
        samples = counted(batch)
        self.evaluation.samples_completed += math.nan if samples is None else samples
        self._training.fire(Callback.on_evaluation_batch_end, self.evaluation, batch, returned)

    def end(self, metrics: Mapping[str, Any]) -> None:
        """It is over, and these are its values by the trainer's names."""
        name = self.evaluation.name
        with self._stack:
            found = numbers(metrics)
            self.evaluation.metrics.update(self._training.setup.log.end_evaluation())
            self.evaluation.metrics.update({named(name, key): v for key, v in found.items()})
            self._span.end()
            self._training.position.epoch_metrics.update(self.evaluation.metrics)
        flush(self._training)
        report_unlogged(self._training, name)

    def abandon(self) -> None:
        """An error has left it: put back what callbacks have put in."""
        self._stack.close()


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The values that are single numbers."""
    found = {}
    for key, value in values.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        found[key] = number
    return found


def named(data: str, key: str) -> str:
    """The full name of a trainer's value of an evaluation: `val_loss` is `val/loss`."""
    first, _, rest = key.replace("/", "_", 1).partition("_")
    return f"{data}/{rest}" if rest and first in PREFIXES else f"{data}/{key.replace('/', '_')}"
