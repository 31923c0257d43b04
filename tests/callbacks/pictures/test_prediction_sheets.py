"""What a prediction is follows from shapes, and each kind is shown in its own way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trackside.callbacks.pictures.prediction_sheets import prediction_sheet, probabilities
from trackside.callbacks.pictures.sheets import sheet_size
from trackside.callbacks.pictures.tiles import Sheet
from trackside.errors import DataError

IMAGES = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))


def captions(sheet: Sheet) -> list[str]:
    return [tile.caption for row in sheet.rows for tile in row]


def moods(sheet: Sheet) -> list[str]:
    return [tile.mood for row in sheet.rows for tile in row]


def test_scores_are_shown_as_the_likeliest_class_with_its_probability() -> None:
    scores = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 1.0]])
    sheet = prediction_sheet(IMAGES, scores, torch.tensor([0, 0, 0]), classes=["cat", "dog"])

    assert captions(sheet) == ["cat  50%", "cat  100%", "dog  73%\nis cat"]
    assert moods(sheet) == ["right", "right", "wrong"]


def test_a_sheet_keeps_its_size_when_all_is_right() -> None:
    scores = torch.eye(3)
    right, wrong = (prediction_sheet(IMAGES, scores, torch.tensor([0, 1, n])) for n in (2, 0))

    assert sheet_size(right) == sheet_size(wrong)


def test_probabilities_are_taken_as_they_are() -> None:
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])

    assert torch.equal(probabilities(shares), shares)
    assert torch.equal(probabilities(shares * 2), (shares * 2).softmax(1))


def test_without_a_target_nothing_is_right_or_wrong() -> None:
    assert moods(prediction_sheet(IMAGES, torch.rand(3, 4), None)) == ["plain"] * 3


def test_classes_that_were_chosen_already_have_no_probability() -> None:
    sheet = prediction_sheet(IMAGES, torch.tensor([2, 0, 1]), torch.tensor([2, 0, 0]))

    assert captions(sheet) == ["2", "0", "1\nis 0"]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_numbers_are_shown_beside_the_true_ones(shape: tuple[int, ...]) -> None:
    numbers = torch.tensor([0.5, -1.25, 1234.5]).reshape(shape)
    sheet = prediction_sheet(IMAGES, numbers, torch.tensor([1.0, 2.0, 3.0]))

    assert captions(sheet) == ["0.5\nis 1", "-1.25\nis 2", "1.23e+03\nis 3"]


def test_images_are_shown_below_what_they_were_made_of() -> None:
    sheet = prediction_sheet(IMAGES, IMAGES * 0.5, 1 - IMAGES)

    assert sheet.row_labels == ["input", "target", "prediction"]
    for row, values in zip(sheet.rows, (IMAGES, 1 - IMAGES, IMAGES * 0.5), strict=True):
        assert np.allclose(row[2].values, values[2, 0].numpy())


@pytest.mark.parametrize("target", [None, IMAGES, torch.tensor([0, 1, 2])])
def test_an_autoencoder_has_no_target_but_its_input(target: Tensor | None) -> None:
    sheet = prediction_sheet(IMAGES, IMAGES.flatten(1) * 0.5 if target is None else IMAGES, target)

    assert sheet.row_labels == ["input", "prediction"]


def test_flat_images_are_shown_in_the_shape_that_was_given() -> None:
    flat = IMAGES.flatten(1)
    sheet = prediction_sheet(flat, flat * 0.5, flat, shape=(4, 5))

    assert sheet.rows[1][0].values.shape == (4, 5)


@pytest.mark.parametrize("scores", [True, False])
def test_masks_are_shown_as_classes_with_a_legend(scores: bool) -> None:
    target = torch.randint(3, (3, 4, 5))
    mask = torch.randint(3, (3, 4, 5))
    prediction = torch.eye(3)[mask].permute(0, 3, 1, 2) if scores else mask
    sheet = prediction_sheet(IMAGES, prediction, target, classes=["sky", "road", "car"])

    assert sheet.row_labels == ["input", "target", "prediction"]
    assert [row[0].kind for row in sheet.rows] == ["image", "classes", "classes"]
    assert np.array_equal(sheet.rows[2][1].values, mask[1].numpy())
    assert sheet.legend == {0: "sky", 1: "road", 2: "car"}


def test_many_samples_come_in_bands() -> None:
    images = torch.rand(10, 1, 2, 2)
    sheet = prediction_sheet(images, images * 0.9, None)

    assert [len(row) for row in sheet.rows] == [8, 8, 2, 2]
    assert sheet.row_labels == ["input", "prediction"] * 2


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        ("text", None),
        (torch.rand(2, 4), None),
        (torch.rand(3, 1, 7, 2, 5), None),
        (torch.rand(3, 4), torch.zeros(3, 2, dtype=torch.int64)),
    ],
)
def test_what_can_not_be_shown_is_said_with_its_shape(prediction: Any, target: Any) -> None:
    with pytest.raises(DataError, match=r"received|shape|str"):
        prediction_sheet(IMAGES, prediction, target)
