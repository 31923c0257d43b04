"""`PredictionImages`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import torch

from trackside.callbacks.pictures.gallery import PictureCallback
from trackside.callbacks.pictures.prediction_sheets import prediction_sheet
from trackside.callbacks.pictures.samples import (
    check_average,
    first_samples,
    inputs_of,
    undisturbed,
)
from trackside.callbacks.pictures.sheets import draw_sheet, sheet_size
from trackside.callbacks.pictures.tiles import check_range, check_shape
from trackside.data.batches import Batch, move
from trackside.errors import DataError
from trackside.progress import whole_number
from trackside.run import Run
from trackside.schedule import Schedule
from trackside.step.output import split

_HOST = torch.device("cpu")


@final
class PredictionImages(PictureCallback):
    """Shows the same images again and again, with what the model makes of them.

    The first samples of a data set, in its order. What is shown follows from the shapes: below each
    image the predicted class and its probability, green where it is right, red with the true class
    where it isn't; a predicted number and the true one; or rows of input, target and prediction,
    where images or masks of classes are predicted.

    The picture is `pictures/<data>/predictions/step-0000000100.png` in the run's folder, and goes
    to every tracker that shows pictures as `<data>/predictions`. A thread draws; the loop waits for
    the predictions of these few samples only. Training is left as it was.

    Needs `pip install 'trackside[pictures]'`.

    Args:
        data: Name of the data; its inputs are images: `(B, H, W)`, or `(B, C, H, W)` with one or
            three channels.
        every: When.
        count: How many samples, 1 or more.
        classes: Names of the classes; None numbers them.
        shape: Shape of one image, `[28, 28]` or `[3, 32, 32]`, where inputs come flat.
        value_range: The darkest and the brightest value; None takes the first of 0 to 1 and -1 to 1
            that holds all inputs, else their least and greatest value.
        average: Name of a callback whose averages predict, such as `ema`; None takes the weights
            themselves.

    Raises:
        ConfigurationError: Options out of range, or matplotlib isn't installed.
        UsageError: When training starts, as a warning: there is no such data.
        DataError: As a warning: inputs or predictions can't be shown as pictures.

    Example:
        >>> PredictionImages("val", every="1 epoch", count=16)
    """

    runs_after = ("ema", "swa")

    def __init__(
        self,
        data: str = "val",
        every: Schedule | str = "1 epoch",
        count: int = 16,
        *,
        classes: Sequence[str] | None = None,
        shape: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
        average: str | None = None,
    ) -> None:
        super().__init__(every)
        self.data = data
        self.count = whole_number(count, "count", at_least=1)
        self.classes = None if classes is None else tuple(map(str, classes))
        self.shape = check_shape(shape)
        self.value_range = check_range(value_range)
        self.average = average
        self._batch: Batch = None

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._batch = None
        check_average(run, self.average)
        self._batch = first_samples(run, self.data, self.count)

    def on_due(self, run: Run) -> None:
        if self._batch is None:
            return  # `on_fit_start` has said why
        with undisturbed(run, self.average):
            batch = move(self._batch, run.device)
            prediction = move(run.steps.predict_step(run, batch), _HOST)
        inputs = inputs_of(self._batch)
        if inputs is None:
            raise DataError("there is no image in a batch", received=f"data named {self.data!r}")
        step = run.progress.steps_completed
        sheet = prediction_sheet(
            inputs,
            prediction,
            target_of(self._batch),
            classes=self.classes,
            shape=self.shape,
            value_range=self.value_range,
            title=f"{self.data}: predictions after step {step:,}",
        )
        draw = partial(draw_sheet, sheet=sheet)
        self.gallery.show(run, f"{self.data}/predictions", draw, sheet_size(sheet))


def target_of(batch: Batch) -> Any:
    """The target of a batch, or None where it has none."""
    try:
        return split(batch)[1]
    except DataError:
        return None
