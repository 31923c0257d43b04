from __future__ import annotations

import numpy as np
import pytest
import torch

from trackside.callbacks.pictures.tiles import (
    Tile,
    as_images,
    check_range,
    check_shape,
    in_rows,
    range_of,
    to_pixels,
)
from trackside.errors import ConfigurationError, DataError


@pytest.mark.parametrize(
    ("given", "shape", "expected"),
    [
        ((2, 5, 6), None, (2, 1, 5, 6)),
        ((2, 1, 5, 6), None, (2, 1, 5, 6)),
        ((2, 3, 5, 6), None, (2, 3, 5, 6)),
        ((2, 5, 6, 3), None, (2, 3, 5, 6)),
        ((2, 30), (5, 6), (2, 1, 5, 6)),
        ((2, 90), (3, 5, 6), (2, 3, 5, 6)),
    ],
)
def test_values_become_images(
    given: tuple[int, ...], shape: tuple[int, ...] | None, expected: tuple[int, ...]
) -> None:
    assert as_images(torch.zeros(given), shape).shape == expected


@pytest.mark.parametrize("given", [(2, 30), (2, 4, 5, 6), (2, 1, 4, 5, 6)])
def test_what_is_no_image_is_refused_with_its_shape(given: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=str(given[0])):
        as_images(torch.zeros(given))


def test_channels_last_keeps_each_pixel() -> None:
    images = torch.arange(24.0).reshape(1, 2, 4, 3)

    assert as_images(images)[0, :, 1, 2].tolist() == images[0, 1, 2].tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.7], (0, 1)),
        ([-0.2, 0.7], (-1, 1)),
        ([-2.0, 3.0], (-2, 3)),
        ([4.0, 4.0], (4, 5)),
        ([float("nan"), 0.5], (0, 1)),
        ([float("nan")], (0, 1)),
    ],
)
def test_the_range_is_the_usual_one_that_holds_all_values(
    values: list[float], expected: tuple[float, float]
) -> None:
    assert range_of(torch.tensor(values)) == expected


def test_bytes_range_to_255() -> None:
    assert range_of(torch.tensor([3], dtype=torch.uint8)) == (0, 255)


def test_pixels_go_from_dark_to_bright_and_are_cut_off_at_the_ends() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, float("nan")]).reshape(1, 1, 2, 3)

    pixels = to_pixels(images, (-1, 1))
    assert pixels.shape == (1, 2, 3)
    assert pixels.flatten().tolist() == [0, 0, 0.5, 1, 1, 0]


def test_colours_stay_with_their_pixel() -> None:
    images = torch.rand(2, 3, 4, 5)

    assert np.array_equal(to_pixels(images, (0, 1))[1, 2, 3], images[1, :, 2, 3].numpy())


def test_rows_are_as_square_as_it_gets() -> None:
    tiles = [Tile(np.zeros((1, 1)))] * 7

    assert [len(row) for row in in_rows(tiles)] == [3, 3, 1]
    assert [len(row) for row in in_rows(tiles, 5)] == [5, 2]


@pytest.mark.parametrize("shape", [[8], [2, 3, 4, 5], [0, 8], [8.0, 8]])
def test_a_shape_of_no_image_is_refused(shape: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="not the shape of an image"):
        check_shape(shape)


@pytest.mark.parametrize("value_range", [[1, 0], [1, 1], [0]])
def test_an_empty_range_is_refused(value_range: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="range"):
        check_range(value_range)
