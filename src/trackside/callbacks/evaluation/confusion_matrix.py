"""`ConfusionMatrix`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from trackside.errors import DataError
from trackside.run import Run
from trackside.run_folder.inside import replace_inside
from trackside.schedule import Schedule
from trackside.step.evaluation import EvaluationCallback
from trackside.step.output import split


@final
class ConfusionMatrix(EvaluationCallback):
    """Counts which class was taken for which, and logs each class's recall.

    By the weights that an evaluation of the data sees: averages, where an `EMA` puts them in.

    The counts of the last pass are in `matrix` and in the file `confusion/<data>.csv` in the run's
    folder: a row per true class, a column per predicted one. Classes that don't occur have no
    recall. Predictions are scores of shape `(B, C)`, or a logit per sample, `(B)` or `(B, 1)`,
    where a positive one means class 1.

    Args:
        data: Name of the data; batches have a target of class indices, shape `(B)`.
        every: When.
        classes: Names of the classes, for file and logs; None numbers them.

    Example:
        >>> ConfusionMatrix("val", classes=["cat", "dog"])  # logs recall/val/cat, recall/val/dog
    """

    effect = "observes"
    on_error = "warn"
    calls_collectives = True

    def __init__(
        self,
        data: str = "val",
        every: Schedule | str = "1 epoch",
        classes: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(data, every)
        self.classes = None if classes is None else tuple(map(str, classes))
        self.matrix: Tensor | None = None
        """Counts of the last pass, shape `(C, C)`: true class, predicted class."""
        self.logs = (f"recall/{data}/*",)
        self._width = 0
        self._are_logits = False

    def process_batch(self, run: Run, batch: Any) -> Tensor:
        """True and predicted class of each sample, shape `(B, 2)`."""
        scores = run.steps.predict_step(run, batch)
        target = split(batch)[1]
        if not isinstance(scores, Tensor) or not isinstance(target, Tensor):
            raise _refused(scores, target)
        self._are_logits = scores.shape[1:] in ((), (1,)) and target.shape[1:] in ((), (1,))
        if self._are_logits and scores.ndim and scores.numel() == target.numel():
            self._width = 2
            return torch.stack((target.reshape(-1), (scores > 0).reshape(-1)), dim=1)
        if scores.ndim != 2 or scores.shape[1] == 1 or target.ndim != 1:
            raise _refused(scores, target)
        self._width = scores.shape[1]
        return torch.stack((target, scores.argmax(1)), dim=1)

    def process_results(self, run: Run, results: Any) -> None:
        """Count, log, write."""
        if self._are_logits and not ((results == 0) | (results == 1)).all():
            raise DataError(
                "a confusion matrix can't be made of these targets: each sample has a single logit",
                expected="targets of 0 or 1",
                received=f"values from {results[:, 0].min():g} to {results[:, 0].max():g}",
            )
        results = results.long()
        width = max(int(results.max()) + 1, len(self.classes or ()), self._width)
        self.matrix = confusion(results[:, 0], results[:, 1], width)
        names = [*(self.classes or ()), *map(str, range(len(self.classes or ()), width))]
        for name, row, right in zip(names, self.matrix, self.matrix.diagonal(), strict=True):
            if row.sum() > 0:
                run.log(f"recall/{self.data}/{name}", float(right / row.sum()), weight=1.0)
        if run.world.is_global_zero:
            file = io.StringIO(newline="")
            writer = csv.writer(file)
            writer.writerow(["true \\ predicted", *names])
            writer.writerows([n, *r] for n, r in zip(names, self.matrix.tolist(), strict=True))
            replace_inside(run.directory, f"confusion/{self.data}.csv", file.getvalue())


def _refused(scores: object, target: object) -> DataError:
    shapes = [getattr(one, "shape", type(one).__name__) for one in (scores, target)]
    return DataError(
        "a confusion matrix can't be made of these predictions",
        expected="scores of shape (B, C) and targets of shape (B), or a logit per sample, of shape "
        "(B) or (B, 1), and targets of 0 or 1",
        received=f"{shapes[0]} and {shapes[1]}",
    )


def confusion(target: Tensor, prediction: Tensor, classes: int) -> Tensor:
    """Counts of each pair of true and predicted class, shape `(classes, classes)`."""
    return torch.bincount(target * classes + prediction, minlength=classes**2).reshape(
        classes, classes
    )
