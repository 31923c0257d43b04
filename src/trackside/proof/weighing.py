"""Weighing the samples of a step: the loss of each, and the norm of its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

from trackside.callbacks.gradients.norms import total_norm
from trackside.data.batches import changed, parts_of, take
from trackside.data.counting import counted
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.state import TRAIN
from trackside.machine import randomness
from trackside.progress import TrainingBatch
from trackside.proof.per_sample import losses_of_samples
from trackside.run import Run
from trackside.step.modes import evaluation_mode
from trackside.step.output import as_output

FAR = 10.0
"""Input distance from which a sample is an outlier: natural ones stay below it."""
Way = Literal["in the step", "alone"]
"""How the loss of a sample was found: as it is in the batch of the step; or by itself, with the
model in evaluation mode, where the loss doesn't show single samples or isn't finite."""


@dataclass(frozen=True, slots=True)
class WeighedSample:
    """One sample of a step."""

    batch: TrainingBatch
    """Its batch; `places` is its place there."""
    index: int | None
    """Index in the data set; None where it isn't known."""
    loss: float
    gradient_norm: float
    """Euclidean, over all parameters."""
    input_distance: float = 0.0
    """Distance of its numbers from the middle of the batch, in times of the usual spread."""
    score: float = 0.0
    """How far it stands out among the samples of the step; infinite where its loss isn't finite."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def name(self) -> str:
        """Its index, or its place in the batch."""
        return f"place {self.batch.places[0]}" if self.index is None else f"sample {self.index}"


class Weigher(Callback[Run]):
    """Weighs the samples of the steps that it hears; training goes on as if it were not there."""

    def __init__(self) -> None:
        self.samples: list[WeighedSample] = []
        self.way: Way = "in the step"
        self._before: Any = None
        self._batch: Any = None

    def on_batch_start(self, run: Run, batch: Any) -> None:
        """Keep all that the step of this batch depends on."""
        if run.steps.manual_optimization:
            raise UsageError(
                "samples of a trainer that optimizes by hand can't be weighed",
                expected="a `training_step` that returns the loss",
            )
        self._batch = changed(batch, lambda part: part.clone() if _is_tensor(part) else part)
        buffers = [b.clone() for model in run.models.values() for b in model.buffers()]
        self._before = (randomness.capture(), buffers)

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Take the batch through the model again, sample by sample; put everything back."""
        progress = run.progress
        known = run.data[TRAIN].identify(
            progress.epochs_completed, progress.epoch_batches_completed - 1
        )
        with _put_back(run, *self._before), torch.enable_grad(), run.discarding():
            weighed = self._in_the_step(run)
            if weighed is None:
                self.way = "alone"
                weighed = self._alone(run)
        far = _distances(self._batch, len(weighed))
        for place, (loss, norm) in enumerate(weighed):
            index = known.samples[place] if place < len(known.samples) else None
            one = TrainingBatch(known.epoch, known.number, known.samples, (place,))
            self.samples.append(WeighedSample(one, index, loss, norm, far[place]))
        self._batch = self._before = None

    def _in_the_step(self, run: Run) -> list[tuple[float, float]] | None:
        """Losses as they are in the batch; None where they can't be known, or aren't finite."""
        output = _step(run, self._batch)
        each = losses_of_samples(run.steps.loss, output.prediction, output.target)  # type: ignore[attr-defined]
        if each is None or not bool(torch.isfinite(each).all()):
            return None
        parameters = _trained(run)
        found = []
        for loss in each:
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            found.append((float(loss.detach()), _norm(gradients)))
        return found

    def _alone(self, run: Run) -> list[tuple[float, float]]:
        size = counted(self._batch)
        if size is None:
            raise UsageError(
                "the samples of the batch can't be told apart",
                expected="tensors with samples along their first dimension, and lists of them",
            )
        parameters, found = _trained(run), []
        with evaluation_mode(run.models):
            for place in range(int(size)):
                loss = _step(run, take(self._batch, [place])).loss
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                found.append((float(loss.detach()), _norm(gradients)))
        return found


def ranked(samples: Sequence[WeighedSample]) -> list[WeighedSample]:
    """The samples with their scores, the one that stands out most first.

    The score is that of the loss, as a logarithm; numbers that lie far from those of the others add
    to it: an outlier that the model happens to get right has a small loss.
    """
    losses = _standing_out([math.log(max(abs(s.loss), 1e-12)) for s in samples])
    scored = [
        replace(one, score=loss + max(0.0, one.input_distance - FAR))
        for one, loss in zip(samples, losses, strict=True)
    ]
    return sorted(scored, key=lambda one: -one.score)


def _standing_out(values: Sequence[float]) -> list[float]:
    """How many times the usual spread each value lies above the middle."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return [math.inf] * len(values)
    middle = median(finite)
    spread = max(median(abs(value - middle) for value in finite), 1e-6)
    return [(v - middle) / spread if math.isfinite(v) else math.inf for v in values]


def _distances(batch: Any, size: int) -> list[float]:
    """How far the numbers of each sample lie from the middle of the batch; the farthest part."""
    far = [0.0] * size
    for part in parts_of(batch):
        if _is_tensor(part) and part.is_floating_point() and part.ndim and len(part) == size:
            rows = part.detach().float().reshape(size, -1)
            from_middle = (rows - rows.nanmedian(0).values).norm(dim=1)
            far = list(map(max, far, _standing_out(from_middle.tolist())))
    return far


@contextmanager
def _put_back(run: Run, generators: Any, buffers: Sequence[Tensor]) -> Iterator[None]:
    """Inside, generators and buffers are as before the batch; afterwards as they were."""
    own = [buffer for model in run.models.values() for buffer in model.buffers()]
    after = [buffer.clone() for buffer in own]
    with randomness.preserved():
        randomness.restore(generators)
        _copy(own, buffers)
        try:
            yield
        finally:
            _copy(own, after)


def _copy(into: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for buffer, value in zip(into, values, strict=True):
            buffer.copy_(value)


def _step(run: Run, batch: Any) -> Any:
    own = changed(batch, lambda part: part.clone() if _is_tensor(part) else part)
    with run.precision.autocast or nullcontext():
        return as_output(run.steps.training_step(run, own))


def _trained(run: Run) -> list[Tensor]:
    return [p for model in run.models.values() for p in model.parameters() if p.requires_grad]


def _norm(gradients: Sequence[Tensor | None]) -> float:
    return float(total_norm([one for one in gradients if one is not None]))


def _is_tensor(part: Any) -> bool:
    return isinstance(part, Tensor)
