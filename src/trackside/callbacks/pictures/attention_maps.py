"""`AttentionMaps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import final

from torch import Tensor

from trackside.callbacks.pictures.attention import attention_weights
from trackside.callbacks.pictures.gallery import PictureCallback
from trackside.callbacks.pictures.samples import first_samples, undisturbed
from trackside.callbacks.pictures.sheets import draw_sheet, sheet_size
from trackside.callbacks.pictures.tiles import Sheet, Tile
from trackside.data.batches import Batch, move
from trackside.errors import DataError, UnknownModelError
from trackside.progress import whole_number
from trackside.run import Run
from trackside.schedule import Schedule


@final
class AttentionMaps(PictureCallback):
    """Shows where each head of each layer looks, as maps of attention weights.

    One picture per sample: a row for each layer, a column for each head; in a map, queries go down
    and keys to the right, bright where a query looks. The greatest weight stands below each map,
    which is scaled to it.

    The weights are found by themselves: of `nn.MultiheadAttention` (so of `nn.TransformerEncoder`
    too), of `F.scaled_dot_product_attention` and of a softmax over the last of four dimensions; not
    of fused kernels that are called otherwise. They are taken in a separate pass over the first
    samples of a data set, and compiled models run as they were written.

    The pictures are `pictures/<data>/attention/<sample>/step-0000000100.png` in the run's folder,
    and go to every tracker that shows pictures as `<data>/attention/<sample>`.

    Needs `pip install 'trackside[pictures]'`.

    Args:
        layers: Names or patterns (`encoder.*`), as in `model.named_modules()`; all by default.
        data: Name of the data.
        every: When.
        count: How many samples, 1 or more; each has a picture.
        heads: How many heads of each layer at most, 1 or more.
        model: Name of the model, where there are several; None takes the run's first one.

    Raises:
        ConfigurationError: Options out of range, or matplotlib isn't installed.
        UsageError: When training starts, as a warning: there is no such data.
        DataError: As a warning: no layer of these names attends.

    Example:
        >>> AttentionMaps(["encoder.layers.0.*"], every="5 epochs", heads=4)

    Vaswani et al., "Attention is all you need", 2017.
    """

    def __init__(
        self,
        layers: Sequence[str] = ("*",),
        data: str = "val",
        every: Schedule | str = "1 epoch",
        count: int = 1,
        heads: int = 8,
        *,
        model: str | None = None,
    ) -> None:
        super().__init__(every)
        self.layers = tuple(layers)
        self.data = data
        self.count = whole_number(count, "count", at_least=1)
        self.heads = whole_number(heads, "heads", at_least=1)
        self.model = model
        self._batch: Batch = None

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._batch = None
        if self.model is not None and self.model not in run.models:
            raise UnknownModelError.among(run.models, self.model, "to look into", option="model")
        self._batch = first_samples(run, self.data, self.count)

    def on_due(self, run: Run) -> None:
        if self._batch is None:
            return  # `on_fit_start` has said why
        model = run.model if self.model is None else run.models[self.model]
        with undisturbed(run), attention_weights(model, self.layers) as found:
            run.steps.predict_step(run, move(self._batch, run.device))
        if not found:
            raise DataError(
                "no layer of the model attends",
                expected="nn.MultiheadAttention, F.scaled_dot_product_attention, or a softmax over "
                "the last of four dimensions, in layers named " + " or ".join(self.layers),
            )
        shown = {name: weights[: self.count].float().cpu() for name, weights in found.items()}
        for sample in range(min(len(weights) for weights in shown.values())):
            of_sample = {name: weights[sample] for name, weights in shown.items()}
            step = run.progress.steps_completed
            title = f"{self.data}: attention in sample {sample} after step {step:,}"
            sheet = attention_sheet(of_sample, self.heads, title)
            self.gallery.show(
                run,
                f"{self.data}/attention/{sample}",
                partial(draw_sheet, sheet=sheet),
                sheet_size(sheet),
                caption="each map from 0 (dark) to its greatest weight (bright)",
            )


def attention_sheet(weights: Mapping[str, Tensor], heads: int, title: str) -> Sheet:
    """A row per layer, a column per head.

    Args:
        weights: By name of the layer, shape `(heads, queries, keys)`.
        heads: How many at most.
        title: Of the sheet.
    """
    rows = [
        [Tile(one.numpy(), "weights", f"max {float(one.max()):.2f}") for one in of_layer[:heads]]
        for of_layer in weights.values()
    ]
    widest = max(len(row) for row in rows)
    return Sheet(
        rows,
        title=title,
        row_labels=list(weights),
        column_labels=[f"head {number}" for number in range(widest)],
        horizontal="key position →",
        vertical="← query position",
    )
