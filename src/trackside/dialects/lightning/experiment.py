"""`logger.experiment`: numbers, pictures, histograms and texts for every tracker of the run.

It has the methods of TensorBoard's writer, and W&B's `log` for numbers. Steps that callbacks give
are not taken: a value belongs to the progress of now.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trackside.dialects.values import is_number
from trackside.dialects.view import View
from trackside.errors import UsageError
from trackside.tracking.media import Histogram, Media, Picture, Text

if TYPE_CHECKING:
    from trackside.dialects.lightning.trainer import TrainerView

_NATIVE = "of a `trackside.Callback`: `run.emit(Media.on_..., name, value)` reaches every tracker"


class Experiment(View):
    """Stands for the client of a tracker.

    Args:
        trainer: The view it belongs to.
    """

    dialect = "lightning"
    stands_for = "experiment"
    refuses_settings = True
    instead = {
        "add_graph": "the callbacks `ModelSummary` and `GraphReport` show the model",
        "add_hparams": "every tracker has the configuration of the run: `run.config`",
        "config": "every tracker has the configuration of the run: `run.config`",
        "watch": "the callback `Histograms` records parameters and gradients",
    }

    def __init__(self, trainer: TrainerView) -> None:
        super().__init__()
        vars(self)["_trainer"] = trainer
        self.look_at(trainer.run)

    def log(self, values: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Log numbers, as W&B's client does.

        Raises:
            UsageError: A value is an object of that client.
        """
        for name, value in values.items():
            if not is_number(value):
                raise UsageError(
                    f"lightning: `experiment.log` takes numbers here, and {name!r} is none",
                    received=type(value).__name__,
                    remedy=f"a picture: `experiment.add_image({name!r}, pixels)`; else {_NATIVE}",
                )
            vars(self)["_trainer"].log(name, value)

    log_metrics = log

    def add_scalar(self, tag: str, scalar_value: Any, *args: Any, **kwargs: Any) -> None:
        """Log a number."""
        self.log({tag: scalar_value})

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Log several numbers under one topic."""
        self.log({f"{main_tag}/{name}": value for name, value in tag_scalar_dict.items()})

    def add_image(
        self, tag: str, img_tensor: Any, *args: Any, dataformats: str = "CHW", **kwargs: Any
    ) -> None:
        """Show a picture, shape `(channels, height, width)`, from 0 to 1 or of whole numbers."""
        self._show(Media.on_picture, tag, Picture(pixels_of(img_tensor, dataformats)))

    def add_images(
        self, tag: str, img_tensor: Any, *args: Any, dataformats: str = "NCHW", **kwargs: Any
    ) -> None:
        """Show pictures beside each other, shape `(pictures, channels, height, width)`."""
        one = dataformats.replace("N", "")
        rows = [pixels_of(image, one) for image in img_tensor]
        self._show(Media.on_picture, tag, Picture(np.concatenate(rows, axis=1)))

    def add_figure(self, tag: str, figure: Any, *args: Any, **kwargs: Any) -> None:
        """Show a figure of matplotlib."""
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
        self._show(Media.on_picture, tag, Picture(pixels))

    def add_histogram(self, tag: str, values: Any, *args: Any, **kwargs: Any) -> None:
        """Show how values are distributed."""
        flat = np.asarray(torch.as_tensor(values).detach().float().cpu()).ravel()
        finite = flat[np.isfinite(flat)]
        counts, edges = np.histogram(finite, bins=64)
        histogram = Histogram(counts, edges.astype(np.float64), len(flat) - len(finite))
        self._show(Media.on_histogram, tag, histogram)

    def add_text(self, tag: str, text_string: str, *args: Any, **kwargs: Any) -> None:
        """Show a text."""
        self._show(Media.on_text, tag, Text(text_string))

    def _show(self, event: Callable[..., None], name: str, shown: object) -> None:
        """Give something to see to every tracker; say it once where there is none."""
        self.run.emit(event, name, shown)
        kind = event.__name__
        if not any(hasattr(callback, kind) for callback in self.run.callbacks):
            self._tell_once(kind, name)

    def _tell_once(self, kind: str, name: str) -> None:
        reported = self.shared.setdefault("__reported_unseen__", set())
        if kind not in reported and self.run.world.is_global_zero:
            reported.add(kind)
            warnings.warn(
                f"lightning: {name!r} is shown to nobody, as no callback has `{kind}`: add a "
                "tracker, `TensorBoard()`, `WandB()` or `MLflow()`",
                stacklevel=4,
            )

    def flush(self) -> None:
        """Do nothing: trackers write as they go."""

    def close(self) -> None:
        """Do nothing: the run closes its trackers."""


def pixels_of(image: Any, order: str = "CHW") -> Any:
    """Pixels from 0 to 255, shape `(height, width, 3)`.

    Args:
        image: From 0 to 1 where it has fractions, else from 0 to 255.
        order: Meaning of its axes: `CHW`, `HWC` or `HW`.
    """
    pixels = torch.as_tensor(image).detach().cpu()
    if pixels.is_floating_point():
        pixels = pixels.float().clamp(0, 1).mul(255).round()
    if order == "HW":
        pixels = pixels.unsqueeze(-1)
    elif order == "CHW":
        pixels = pixels.permute(1, 2, 0)
    if pixels.shape[-1] == 1:
        pixels = pixels.expand(*pixels.shape[:-1], 3)
    return np.ascontiguousarray(pixels[..., :3].numpy().astype(np.uint8))
