"""`FeatureMaps`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from trackside.callbacks.pictures.gallery import PictureCallback
from trackside.callbacks.pictures.samples import (
    first_samples,
    inputs_of,
    layers_of,
    undisturbed,
)
from trackside.callbacks.pictures.sheets import draw_sheet, sheet_size
from trackside.callbacks.pictures.tiles import Sheet, Tile, as_images, range_of, to_pixels
from trackside.data.batches import Batch, describe, move
from trackside.errors import ConfigurationError, DataError, UnknownModelError, did_you_mean
from trackside.progress import whole_number
from trackside.run import Run
from trackside.schedule import Schedule


@final
class FeatureMaps(PictureCallback):
    """Shows what layers make of a few images: the first channels of their outputs.

    One picture per layer: a row for each sample, the input first, then one channel beside the
    other, each scaled from its least value (dark) to its greatest (bright). Outputs are taken in a
    separate pass over the first samples of a data set; hooks are on the layers during that pass
    only, and compiled models run as they were written.

    The pictures are `pictures/<data>/features/<layer>/step-0000000100.png` in the run's folder, and
    go to every tracker that shows pictures as `<data>/features/<layer>`.

    Needs `pip install 'trackside[pictures]'`.

    Args:
        layers: Names of layers, or patterns (`encoder.*`), as in `model.named_modules()`; None
            takes every two-dimensional convolution.
        data: Name of the data.
        every: When.
        count: How many samples, 1 or more.
        channels: How many channels of each layer, 1 or more.
        model: Name of the model, where there are several; None takes the run's first one.

    Raises:
        ConfigurationError: Options out of range, or matplotlib isn't installed; when training
            starts, as a warning: there are no such layers.
        DataError: As a warning: an output isn't of shape `(B, C, H, W)`.

    Example:
        >>> FeatureMaps(["stem", "blocks.*.conv1"], every="5 epochs", channels=8)

    Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014.
    """

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        data: str = "val",
        every: Schedule | str = "1 epoch",
        count: int = 4,
        channels: int = 8,
        *,
        model: str | None = None,
    ) -> None:
        super().__init__(every)
        self.layers = None if layers is None else tuple(layers)
        self.data = data
        self.count = whole_number(count, "count", at_least=1)
        self.channels = whole_number(channels, "channels", at_least=1)
        self.model = model
        self._batch: Batch = None

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._batch = None
        self._chosen(run)
        self._batch = first_samples(run, self.data, self.count)

    def on_due(self, run: Run) -> None:
        if self._batch is None:
            return  # `on_fit_start` has said why
        with undisturbed(run), outputs_of(self._chosen(run)) as found:
            run.steps.predict_step(run, move(self._batch, run.device))
        for layer, output in found.items():
            sheet = feature_sheet(
                inputs_of(self._batch),
                move(output, torch.device("cpu")),
                self.channels,
                title=f"{layer} after step {run.progress.steps_completed:,}",
            )
            self.gallery.show(
                run,
                f"{self.data}/features/{layer}",
                partial(draw_sheet, sheet=sheet),
                sheet_size(sheet),
                caption="each channel from its least value (dark) to its greatest (bright)",
            )

    def _chosen(self, run: Run) -> dict[str, nn.Module]:
        model = run.model if self.model is None else run.models.get(self.model)
        if model is None:
            raise UnknownModelError.among(run.models, self.model, "to look into", option="model")
        every = layers_of(model)
        if self.layers is None:
            chosen = {name: every[name] for name in every if isinstance(every[name], nn.Conv2d)}
            if not chosen:
                raise ConfigurationError(
                    "the model has no two-dimensional convolution to look at",
                    remedy="name layers whose outputs have the shape (B, C, H, W)",
                )
            return chosen
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in every):
                raise ConfigurationError(
                    f"there is no layer {pattern!r} to look at",
                    remedy=did_you_mean(pattern, every),
                    option="layers",
                )
        return {n: m for n, m in every.items() if any(fnmatchcase(n, p) for p in self.layers)}


@contextmanager
def outputs_of(layers: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Filled inside with what each layer returned last, by name; the hooks are gone afterwards."""
    found: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        found[name] = output

    handles = [one.register_forward_hook(partial(keep, name)) for name, one in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def feature_sheet(inputs: Tensor | None, output: Any, channels: int, title: str) -> Sheet:
    """A row per sample: the input where it is an image, then the first channels of the output.

    Args:
        inputs: Of the model, in host memory.
        output: Of the layer, shape `(B, C, H, W)`.
        channels: How many of them.
        title: What is said above it is "title: the first 8 of 32 channels".

    Raises:
        DataError: The output has another shape.
    """
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise DataError(
            "the output of a layer can't be shown as feature maps",
            expected="shape (B, C, H, W)",
            received=describe(output),
        )
    rows = [[Tile(one, "map") for one in sample[:channels].numpy()] for sample in output.float()]
    labels = [f"channel {n}" for n in range(min(channels, output.shape[1]))]
    try:
        images = as_images(inputs) if inputs is not None else None
    except DataError:
        images = None  # sound, text: there is nothing to see beside the maps
    if images is not None and len(images) == len(rows):
        pixels = to_pixels(images, range_of(images))
        rows = [[Tile(image), *row] for image, row in zip(pixels, rows, strict=True)]
        labels = ["input", *labels]
    shown = f"the first {len(rows[0]) - (images is not None)} of {output.shape[1]} channels"
    return Sheet(rows, title=f"{title}: {shown}", column_labels=labels)
