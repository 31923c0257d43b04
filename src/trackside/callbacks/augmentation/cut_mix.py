"""`CutMix`."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
from torch import Tensor

from trackside.callbacks.augmentation.mixing import (
    Mixture,
    check_loss,
    check_share,
    draws,
    mixed,
    note_classes,
)
from trackside.data.batches import describe
from trackside.errors import DataError
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run


@final
class CutMix(Callback):
    """Puts a box of another image of the batch into each training image, and mixes the targets.

    The target is the mixture of both classes by the area that each has in the image, as shares of
    shape `(B, C)`. One box is drawn for each batch. The loss must take such targets, as
    `nn.CrossEntropyLoss` does; it is tried before the first step. Evaluations and predictions see
    their batches as they are.

    Draws follow from the seed and the place of the batch in the run: a resumed run draws as an
    unbroken one, and no other generator is touched.

    Args:
        classes: Number of classes of the targets, 2 or more.
        alpha: Shape of the distribution `Beta(alpha, alpha)` of the area that stays; above 0. 1
            makes all areas alike probable.
        probability: Share of the batches that are mixed, above 0, up to 1.
        seed: Of the draws.

    Raises:
        ConfigurationError: An option out of its range, or a loss that doesn't take soft targets.
        DataError: A batch without images, `(B, C, H, W)` or `(B, H, W)`, or whose targets aren't
            classes.

    Example:
        >>> CutMix(classes=10, probability=0.5)
        CutMix(10, probability=0.5)

    Source: Yun et al., 2019 (https://arxiv.org/abs/1905.04899).
    """

    effect = "changes"
    runs_in = ("fit",)

    def __init__(
        self, classes: int, *, alpha: float = 1.0, probability: float = 1.0, seed: int = 0
    ) -> None:
        check_share(alpha, probability)
        self.classes = whole_number(classes, "classes", at_least=2)
        self.alpha = alpha
        self.probability = probability
        self.seed = whole_number(seed, "seed")

    def on_fit_start(self, run: Run) -> None:
        check_loss(run, self.classes, "CutMix")

    def on_exception(self, run: Run, error: BaseException) -> None:
        note_classes(error, self.classes, "CutMix")

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        drawn = draws(2 * self.seed + 1, run)
        if drawn.random() >= self.probability:
            return None
        kept = float(drawn.beta(self.alpha, self.alpha))
        centre = (float(drawn.random()), float(drawn.random()))

        def mix(inputs: Tensor, partners: Tensor) -> Mixture:
            if inputs.ndim not in (3, 4):
                raise DataError(
                    "`CutMix` cuts boxes out of images, and there are none",
                    expected="images (B, C, H, W) or (B, H, W)",
                    received=describe(inputs),
                )
            top, bottom, left, right = box(kept, centre, inputs.shape[-2], inputs.shape[-1])
            new = inputs.clone()
            new[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
            area = (bottom - top) * (right - left) / (inputs.shape[-2] * inputs.shape[-1])
            return Mixture(new, 1 - area)

        return mixed(batch, self.classes, mix, drawn.permutation)


def box(
    kept: float, centre: tuple[float, float], height: int, width: int
) -> tuple[int, int, int, int]:
    """The box that is cut out of an image: rows from top to bottom, columns from left to right.

    Args:
        kept: Share of the area that stays, from 0 to 1, before the box is cut off at the edges.
        centre: Its centre, as shares of height and width.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """
    side = math.sqrt(1 - kept)
    edges = []
    for place, length in zip(centre, (height, width), strict=True):
        middle, half = int(place * length), int(side * length) // 2
        edges += [int(np.clip(middle - half, 0, length)), int(np.clip(middle + half, 0, length))]
    return edges[0], edges[1], edges[2], edges[3]
