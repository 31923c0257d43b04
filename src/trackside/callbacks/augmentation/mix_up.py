"""`MixUp`."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from trackside.callbacks.augmentation.mixing import (
    Mixture,
    check_loss,
    check_share,
    draws,
    mixed,
    note_classes,
)
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run


@final
class MixUp(Callback):
    """Mixes each training sample, and its target, with another sample of its batch.

    A sample `x` becomes `s * x + (1 - s) * partner`, and its target the same mixture of both
    classes, as shares of shape `(B, C)`. One `s` is drawn for each batch. The loss must take
    such targets, as `nn.CrossEntropyLoss` does; it is tried before the first step. Evaluations and
    predictions see their batches as they are.

    Draws follow from the seed and the place of the batch in the run: a resumed run draws as an
    unbroken one, and no other generator is touched. With `CutMix` beside it, a batch may be mixed
    twice; give both a `probability` below 1.

    Args:
        classes: Number of classes of the targets, 2 or more.
        alpha: Shape of the distribution `Beta(alpha, alpha)` of `s`; above 0. Near 0 most samples
            stay what they are, 1 makes all mixtures alike probable.
        probability: Share of the batches that are mixed, above 0, up to 1.
        seed: Of the draws.

    Raises:
        ConfigurationError: An option out of its range, or a loss that doesn't take soft targets.
        DataError: A batch whose targets aren't classes.

    Example:
        >>> MixUp(classes=10, alpha=0.4)
        MixUp(10, alpha=0.4)

    Source: Zhang et al., 2018 (https://arxiv.org/abs/1710.09412).
    """

    effect = "changes"
    runs_in = ("fit",)

    def __init__(
        self, classes: int, *, alpha: float = 0.2, probability: float = 1.0, seed: int = 0
    ) -> None:
        check_share(alpha, probability)
        self.classes = whole_number(classes, "classes", at_least=2)
        self.alpha = alpha
        self.probability = probability
        self.seed = whole_number(seed, "seed")

    def on_fit_start(self, run: Run) -> None:
        check_loss(run, self.classes, "MixUp")

    def on_exception(self, run: Run, error: BaseException) -> None:
        note_classes(error, self.classes, "MixUp")

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        drawn = draws(2 * self.seed, run)
        if drawn.random() >= self.probability:
            return None
        share = float(drawn.beta(self.alpha, self.alpha))

        def mix(inputs: Tensor, partners: Tensor) -> Mixture:
            return Mixture(inputs * share + partners * (1 - share), share)

        return mixed(batch, self.classes, mix, drawn.permutation)
