"""Whether a function among the metrics is a mean over samples, as the mean over batches assumes.

F1, AUC, R2 or a root of a mean are none: the mean of their values over batches is another number.
A few pairs of batches show it: the value of both together has to be the mean of their values.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import mul
from typing import Any

import torch
from torch import Tensor

from trackside.machine import randomness

logger = logging.getLogger("trackside")

PAIRS = 8
"""Pairs of batches with different values, after which a metric counts as a mean."""
PAIRS_OF_EVALUATION = 64
"""Pairs that are looked at in one evaluation, where equal values are found out at its end only."""

CLASSES = {
    "auc": "AUROC",
    "auroc": "AUROC",
    "average_precision": "AveragePrecision",
    "dice": "F1Score",
    "f1": "F1Score",
    "fbeta": "FBetaScore",
    "iou": "JaccardIndex",
    "jaccard": "JaccardIndex",
    "kappa": "CohenKappa",
    "map": "AveragePrecision",
    "mcc": "MatthewsCorrCoef",
    "pearson": "PearsonCorrCoef",
    "perplexity": "Perplexity",
    "precision": "Precision",
    "r2": "R2Score",
    "recall": "Recall",
    "rmse": "MeanSquaredError(squared=False)",
    "spearman": "SpearmanCorrCoef",
}
"""Parts of names of such metrics, and torchmetrics' class that is right over batches."""


@dataclass(frozen=True, slots=True)
class NoMean:
    """A metric whose value over two batches is not the mean of its values."""

    name: str
    together: float
    mean: float

    def __str__(self) -> str:
        found = (kind for word, kind in CLASSES.items() if word in self.name.lower())
        kind = next(found, None)
        named = "a class of torchmetrics" if kind is None else f"`torchmetrics.{kind}`"
        return (
            f"the metric {self.name!r} is not a mean over samples: of two batches together it is "
            f"{self.together:.6g}, the mean of their values is {self.mean:.6g}, and what is "
            f"recorded is such a mean over batches. To fix: give {named}, or another object with "
            "`update`, `compute` and `reset`, in its place"
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    prediction: Any
    target: Any
    values: Mapping[str, Any]
    samples: float


class MeanCheck:
    """Compares functions with means over the first pairs of batches of a run's evaluations.

    Values stay where they were computed until `finish`: no batch waits for the device. Two batches
    of equal values (an F1 of 0 in both) show nothing, and don't count.
    """

    def __init__(self) -> None:
        self._left = PAIRS_OF_EVALUATION
        self._before: _Batch | None = None
        self._pairs: list[tuple[str, Any, _Batch, _Batch]] = []
        self._agreed: Counter[str] = Counter()
        self._settled: set[str] = set()

    def see(
        self,
        functions: Mapping[str, Callable[[Any, Any], Any]],
        prediction: Any,
        target: Any,
        values: Mapping[str, Any],
        samples: float,
    ) -> None:
        """Take a batch in.

        Args:
            functions: The metrics by name.
            prediction: What they were called with.
            target: Likewise.
            values: What they returned.
            samples: The weight of the batch in the means.
        """
        if not self._left or functions.keys() <= self._settled:
            return
        now = _Batch(prediction, target, values, samples)
        before, self._before = self._before, now
        if before is None or not _fit(before.prediction, prediction):
            return
        open_names = [name for name in functions if name not in self._settled]
        alike = all(_known_alike(before.values[name], values[name]) for name in open_names)
        if alike or not _fit(before.target, target):
            return
        self._left -= 1
        both = (torch.cat((before.prediction, prediction)), torch.cat((before.target, target)))
        with randomness.preserved():
            for name in open_names:
                try:
                    together = functions[name](*both)
                except Exception as error:  # not made for so many samples: it may be a mean
                    logger.info("the metric %r can't be compared with a mean: %s", name, error)
                    self._settled.add(name)
                else:
                    self._pairs.append((name, together, before, now))

    def finish(self) -> list[NoMean]:
        """The metrics that have turned out to be no means, each of them once."""
        pairs, self._pairs, self._before, self._left = self._pairs, [], None, PAIRS_OF_EVALUATION
        found = []
        for name, together, *batches in pairs:
            if name in self._settled:
                continue
            values = [float(batch.values[name]) for batch in batches]
            weights = [batch.samples for batch in batches]
            mean = sum(map(mul, values, weights)) / sum(weights) if sum(weights) else math.nan
            if not _are_close(float(together), mean, values, together):
                self._settled.add(name)
                found.append(NoMean(name, float(together), mean))
            elif values[0] != values[1]:
                self._agreed[name] += 1
                if self._agreed[name] == PAIRS:
                    self._settled.add(name)
        return found


def _fit(first: Any, second: Any) -> bool:
    tensors = isinstance(first, Tensor) and isinstance(second, Tensor)
    return tensors and first.ndim > 0 and first.shape[1:] == second.shape[1:]


def _known_alike(first: Any, second: Any) -> bool:
    """Whether two values are equal, as far as that is known without waiting for a device."""
    waits = any(isinstance(one, Tensor) and not one.is_cpu for one in (first, second))
    return not waits and bool(first == second)


def _are_close(together: float, mean: float, values: list[float], of: Any) -> bool:
    if not math.isfinite(together) or not math.isfinite(mean):
        return math.isfinite(together) == math.isfinite(mean)
    coarse = isinstance(of, Tensor) and of.is_floating_point() and torch.finfo(of.dtype).eps > 1e-4
    largest = max(map(abs, (together, mean, *values)))
    return abs(together - mean) <= max((4e-2 if coarse else 1e-3) * largest, 1e-6)
