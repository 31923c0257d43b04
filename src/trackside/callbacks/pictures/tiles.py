"""Sheets of tiles: pictures side by side with captions, as plain arrays. Nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trackside.errors import ConfigurationError, DataError
from trackside.progress import is_count

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tile:
    """One small picture."""

    values: NDArray[Any]
    """image: 0 to 1, shape `(H, W)` or `(H, W, 3)`. map: any numbers, `(H, W)`. classes: whole
    numbers, `(H, W)`. weights: 0 or more, `(H, W)`."""
    kind: Literal["image", "map", "classes", "weights"] = "image"
    caption: str = ""
    """Below it; may have two lines."""
    mood: Literal["plain", "right", "wrong"] = "plain"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Tiles in rows and columns; the last row may be shorter."""

    rows: Sequence[Sequence[Tile]]
    title: str = ""
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    horizontal: str = ""
    """Label of the axis from left to right."""
    vertical: str = ""
    """Label of the axis from top to bottom."""
    caption_lines: int = 0
    """Kept free below each tile, also where captions have fewer: a sheet's size is then the same
    from one step to the next."""
    legend: Mapping[int, str] = field(default_factory=dict)
    """Names of classes, for tiles of that kind."""

    @property
    def columns(self) -> int:
        """Tiles of the longest row."""
        return max(len(row) for row in self.rows)


def in_rows(tiles: Sequence[Tile], columns: int | None = None) -> list[list[Tile]]:
    """Tiles one after another in rows; by default as square as it gets."""
    width = columns or int(np.ceil(np.sqrt(len(tiles))))
    return [list(tiles[begin : begin + width]) for begin in range(0, len(tiles), width)]


def check_shape(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape of one image as a tuple. Raises `ConfigurationError`."""
    if shape is None:
        return None
    whole = all(is_count(n, at_least=1) for n in shape)
    if len(shape) not in (2, 3) or not whole:
        raise ConfigurationError(
            f"shape={list(shape)} is not the shape of an image",
            expected="[height, width], [1, height, width] or [3, height, width]",
            option="shape",
        )
    return tuple(shape)


def check_range(value_range: Sequence[float] | None) -> Range | None:
    """Darkest and brightest value as a pair. Raises `ConfigurationError`."""
    if value_range is None:
        return None
    if len(value_range) != 2 or not value_range[0] < value_range[1]:
        raise ConfigurationError(
            f"value_range={list(value_range)} isn't a range",
            expected="two numbers, the darkest value and the brightest, such as [-1, 1]",
            option="value_range",
        )
    return float(value_range[0]), float(value_range[1])


def as_images(values: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Values as images of shape `(B, C, H, W)` with one or three channels.

    Args:
        values: `(B, H, W)`, `(B, C, H, W)` or `(B, H, W, C)`; anything of the right size where
            `shape` is given.
        shape: Of one image: `(H, W)` or `(C, H, W)`.

    Raises:
        DataError: They can't be shown as images.
    """
    images = values
    if shape is not None and values.numel() == len(values) * int(np.prod(shape)):
        images = values.reshape(len(values), *shape)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            "these values can't be shown as images",
            expected="shape (B, H, W), or (B, C, H, W) with 1 or 3 channels",
            received=f"shape {tuple(values.shape)}",
            remedy="say the shape of one image, such as shape=[28, 28]",
        )
    return images


def range_of(images: Tensor) -> Range:
    """The usual range that holds all values: 0 to 255, 0 to 1, -1 to 1; else least to greatest."""
    if images.dtype is torch.uint8:
        return 0.0, 255.0
    finite = images[torch.isfinite(images)] if images.is_floating_point() else images
    if finite.numel() == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    return low, high if high > low else low + 1.0


def to_pixels(images: Tensor, value_range: Range) -> NDArray[np.float32]:
    """Images of shape `(B, C, H, W)` as brightness from 0 to 1.

    Returns:
        Shape `(B, H, W)` with one channel, `(B, H, W, 3)` with three. What is out of range is cut
        off; NaN is black.
    """
    low, high = value_range
    scaled = ((images.float() - low) / (high - low)).nan_to_num(0.0).clamp(0, 1)
    pixels: NDArray[np.float32] = scaled.permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
