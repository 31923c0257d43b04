"""`SampleImages`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from trackside.callbacks.pictures.gallery import PictureCallback
from trackside.callbacks.pictures.samples import check_average, undisturbed
from trackside.callbacks.pictures.sheets import draw_sheet, sheet_size
from trackside.callbacks.pictures.tiles import (
    Sheet,
    Tile,
    as_images,
    check_range,
    check_shape,
    in_rows,
    range_of,
    to_pixels,
)
from trackside.data.batches import describe
from trackside.errors import ConfigurationError, DataError, UnknownModelError
from trackside.machine import randomness
from trackside.progress import whole_number
from trackside.run import Run
from trackside.schedule import Schedule


@final
class SampleImages(PictureCallback):
    """Shows what a generative model draws, always from the same noise.

    The model is either a function of noise (`latent`), or has a method that takes the number of
    images and returns them (`method`), as diffusion models and variational autoencoders have it.
    All noise comes from `seed`, so that two pictures differ by what was learnt in between; the
    generators of the run are left alone.

    The picture is `pictures/<model>/samples/step-0000000100.png` in the run's folder, and goes to
    every tracker that shows pictures as `<model>/samples`.

    Needs `pip install 'trackside[pictures]'`.

    Args:
        every: When.
        count: How many images, 1 or more.
        latent: Shape of the noise of one image: the model is called with `torch.randn(count,
            *latent)`. None calls `method`.
        method: Name of the model's method; called as `model.sample(count)`.
        model: Name of the model, where there are several; None takes the run's first one.
        shape: Shape of one image, `[28, 28]` or `[3, 32, 32]`, where the model gives flat values.
        value_range: The darkest and the brightest value; None takes the first of 0 to 1 and -1 to 1
            that holds all of them, else their least and greatest value.
        average: Name of a callback whose averages draw, such as `ema`; None takes the weights
            themselves.
        seed: Of the noise, 0 or more.

    Raises:
        ConfigurationError: Options out of range, or matplotlib isn't installed; when training
            starts, as a warning: there is no such model, method, or averages.
        DataError: As a warning: what the model gives can't be shown as images.

    Example:
        >>> SampleImages(every="5 epochs", latent=[32], model="generator", shape=[8, 8])
    """

    runs_after = ("ema", "swa")

    def __init__(
        self,
        every: Schedule | str = "1 epoch",
        count: int = 16,
        *,
        latent: Sequence[int] | None = None,
        method: str = "sample",
        model: str | None = None,
        shape: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
        average: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(every)
        if not 0 <= seed < randomness.SEED_LIMIT:
            raise ConfigurationError(
                f"seed={seed} can't seed the noise", expected="0 up to 2**32 - 1", option="seed"
            )
        self.count = whole_number(count, "count", at_least=1)
        self.latent = (
            None if latent is None else tuple(whole_number(n, "latent", at_least=1) for n in latent)
        )
        self.method = method
        self.model = model
        self.shape = check_shape(shape)
        self.value_range = check_range(value_range)
        self.average = average
        self.seed = seed

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        check_average(run, self.average)
        self._drawer(run)

    def on_due(self, run: Run) -> None:
        name, model = self._drawer(run)
        with undisturbed(run, self.average):
            randomness.seed_everything(self.seed)
            if self.latent is not None:
                # Drawn on the host: the same noise on every kind of device.
                made = model(torch.randn(self.count, *self.latent).to(run.device))
            else:
                made = getattr(model, self.method)(self.count)
        if not isinstance(made, Tensor):
            raise DataError(f"{name!r} drew no images", received=describe(made))
        images = as_images(made.detach().cpu(), self.shape)
        low, high = self.value_range or range_of(images)
        tiles = [Tile(one) for one in to_pixels(images, (low, high))]
        title = f"{name}: samples after step {run.progress.steps_completed:,}"
        sheet = Sheet(in_rows(tiles), title=title)
        self.gallery.show(
            run,
            f"{name}/samples",
            partial(draw_sheet, sheet=sheet),
            sheet_size(sheet),
            caption=f"black is {low:g}, white {high:g}",
        )

    def _drawer(self, run: Run) -> tuple[str, Any]:
        """Name of the model, and the model."""
        name = self.model or next(n for n, one in run.models.items() if one is run.model)
        found: nn.Module | None = run.models.get(name)
        if found is None:
            raise UnknownModelError.among(run.models, name, "to draw samples", option="model")
        if self.latent is None and not callable(getattr(found, self.method, None)):
            raise ConfigurationError(
                f"the model {name!r} has no method {self.method!r} that draws samples",
                expected="a method that takes the number of images, or `latent`, the shape of the "
                "noise that the model is called with",
                option="method",
            )
        return name, found
