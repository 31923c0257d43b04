"""Predictions as sheets of tiles: classes, numbers, images and masks, distinguished by shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trackside.callbacks.pictures.tiles import (
    Range,
    Sheet,
    Tile,
    as_images,
    in_rows,
    range_of,
    to_pixels,
)
from trackside.data.batches import describe
from trackside.errors import DataError

Names = Sequence[str] | None
_COLUMNS = 8


def prediction_sheet(
    inputs: Tensor,
    prediction: Any,
    target: Any,
    *,
    classes: Names = None,
    shape: Sequence[int] | None = None,
    value_range: Range | None = None,
    title: str = "",
) -> Sheet:
    """The prediction of each image.

    | prediction | target | shown |
    |---|---|---|
    | scores `(B, K)`, or classes `(B)` whole | classes `(B)`, or none | class and its probability |
    | numbers `(B)` or `(B, 1)` | the same, or none | the number |
    | images, as many values as the inputs or the target | the same, or none | rows of images |
    | scores `(B, K, H, W)`, or classes `(B, H, W)` | classes `(B, H, W)` | rows of masks |

    Args:
        inputs: Images, see `as_images`.
        prediction: Of the model, in host memory.
        target: What was right, or None.
        classes: Their names; None numbers them.
        shape: Of one image, where values come flat.
        value_range: Darkest and brightest value of images; None takes the usual range that holds
            the inputs.
        title: Of the sheet.

    Raises:
        DataError: The prediction is of no shape in the table.
    """
    target = target if isinstance(target, Tensor) else None
    images = as_images(inputs, shape)
    low_high = value_range or range_of(images)
    pixels = to_pixels(images, low_high)
    if not isinstance(prediction, Tensor) or len(prediction) != len(images):
        raise _unknown(prediction, target)
    prediction = prediction.float() if prediction.is_floating_point() else prediction
    if _is_mask(prediction, target):
        return _masks(pixels, prediction, target, classes, title)
    if _is_image(prediction, target, images):
        return _images(images, prediction, target, shape, low_high, title)
    if prediction.ndim <= 2 and prediction.numel() == len(images) and _is_number(prediction):
        captions = _number_captions(prediction.flatten(), target)
    elif prediction.ndim <= 2 and (target is None or target.numel() == len(images)):
        captions = _class_captions(prediction, target, classes)
    else:
        raise _unknown(prediction, target)
    tiles = [
        Tile(image, caption=text, mood=_mood(right))
        for image, (text, right) in zip(pixels, captions, strict=True)
    ]
    lines = 1 if target is None else 2
    return Sheet(in_rows(tiles, min(len(tiles), _COLUMNS)), title=title, caption_lines=lines)


def _is_number(prediction: Tensor) -> bool:
    return prediction.is_floating_point()


def _is_mask(prediction: Tensor, target: Tensor | None) -> bool:
    if target is None or target.is_floating_point() or target.ndim != 3:
        return False
    scores = prediction.ndim == 4 and prediction.shape[1] > 1 and prediction.is_floating_point()
    whole = prediction.ndim == 3 and not prediction.is_floating_point()
    return scores or whole


def _is_image(prediction: Tensor, target: Tensor | None, images: Tensor) -> bool:
    if not prediction.is_floating_point() and prediction.dtype is not torch.uint8:
        return False
    if target is not None and not (target.is_floating_point() or target.dtype is torch.uint8):
        return prediction.ndim >= 3 and prediction.numel() == images.numel()
    like = images if target is None else target
    return prediction.ndim >= 3 or (
        prediction.numel() == like.numel() and prediction[0].numel() > 1 and prediction.ndim == 2
    )


def _unknown(prediction: Any, target: Any) -> DataError:
    return DataError(
        "these predictions can't be shown beside images",
        expected="scores (B, K), numbers (B), images (B, C, H, W), or masks and their target",
        received=f"{describe(prediction)}, target {describe(target)}",
    )


# --- captions ----------------------------------------------------------------------------------


def _class_captions(
    prediction: Tensor, target: Tensor | None, classes: Names
) -> list[tuple[str, bool | None]]:
    chosen, sure = prediction.flatten(), None
    if prediction.ndim == 2 and prediction.shape[1] > 1:
        sure, chosen = probabilities(prediction).max(dim=1)
    true = None if target is None else target.flatten().tolist()
    found: list[tuple[str, bool | None]] = []
    for index, number in enumerate(chosen.tolist()):
        text = name_of(number, classes)
        if sure is not None:
            text += f"  {float(sure[index]):.0%}"
        if true is None:
            found.append((text, None))
        elif true[index] == number:
            found.append((text, True))
        else:
            found.append((f"{text}\nis {name_of(int(true[index]), classes)}", False))
    return found


def _number_captions(prediction: Tensor, target: Tensor | None) -> list[tuple[str, bool | None]]:
    texts = [f"{value:.3g}" for value in prediction.tolist()]
    if target is None or target.numel() != len(texts):
        return [(text, None) for text in texts]
    true = target.flatten().tolist()
    return [(f"{text}\nis {value:.3g}", None) for text, value in zip(texts, true, strict=True)]


def probabilities(scores: Tensor) -> Tensor:
    """Scores of shape `(B, K)` as probabilities: as they are where they are that, else softmax."""
    sums = scores.sum(dim=1)
    if bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return scores
    return scores.softmax(dim=1)


def name_of(number: int, classes: Names) -> str:
    """Name of a class, or its number."""
    known = classes is not None and 0 <= number < len(classes)
    return str(classes[number]) if known and classes is not None else str(number)


def _mood(right: bool | None) -> Any:
    return {None: "plain", True: "right", False: "wrong"}[right]


# --- rows of images ----------------------------------------------------------------------------


def _images(
    images: Tensor,
    prediction: Tensor,
    target: Tensor | None,
    shape: Sequence[int] | None,
    low_high: Range,
    title: str,
) -> Sheet:
    rows = {"input": images}
    if target is not None and (target.is_floating_point() or target.dtype is torch.uint8):
        shown = as_images(target, shape)
        if shown.shape != images.shape or not torch.equal(shown.float(), images.float()):
            rows["target"] = shown  # of an autoencoder, it is the input once more
    rows["prediction"] = as_images(prediction, shape or images.shape[1:])
    return _in_bands(
        {name: [Tile(one) for one in to_pixels(part, low_high)] for name, part in rows.items()},
        title,
    )


def _masks(
    pixels: Any, prediction: Tensor, target: Tensor | None, classes: Names, title: str
) -> Sheet:
    assert target is not None, "a mask has a target"
    masks = prediction.argmax(dim=1) if prediction.ndim == 4 else prediction
    mask: Callable[[Tensor], list[Tile]] = lambda values: [  # noqa: E731
        Tile(one, "classes") for one in values.numpy()
    ]
    rows = {
        "input": [Tile(one) for one in pixels],
        "target": mask(target),
        "prediction": mask(masks),
    }
    return _in_bands(rows, title, dict(enumerate(map(str, classes or ()))))


def _in_bands(
    rows: dict[str, list[Tile]], title: str, legend: dict[int, str] | None = None
) -> Sheet:
    """Rows of the same samples below each other, in several bands where there are many samples."""
    count = len(next(iter(rows.values())))
    sheet_rows: list[list[Tile]] = []
    labels: list[str] = []
    for begin in range(0, count, _COLUMNS):
        for name, tiles in rows.items():
            sheet_rows.append(tiles[begin : begin + _COLUMNS])
            labels.append(name)
    return Sheet(sheet_rows, title=title, row_labels=labels, legend=legend or {})
