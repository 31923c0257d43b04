from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.callbacks.pictures.scenes import tiny_pictures
from trackside.callbacks.augmentation.cut_mix import CutMix, box
from trackside.errors import DataError
from trackside.testing import tiny_classification


def run_at(batches: int) -> Any:
    progress = SimpleNamespace(batches_completed=batches)
    return SimpleNamespace(progress=progress, world=SimpleNamespace(rank=0))


@pytest.mark.parametrize(
    ("kept", "centre", "edges"),
    [
        (0.75, (0.5, 0.5), (3, 7, 5, 13)),
        (0.75, (0.0, 0.99), (0, 2, 13, 18)),
        (0.0, (0.5, 0.5), (0, 10, 0, 18)),
        (1.0, (0.5, 0.5), (5, 5, 9, 9)),
    ],
)
def test_a_box_has_its_share_and_stays_in_the_image(
    kept: float, centre: tuple[float, float], edges: tuple[int, ...]
) -> None:
    assert box(kept, centre, 10, 18) == edges


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 8, 8)])
def test_targets_have_the_share_of_the_pixels(shape: tuple[int, ...]) -> None:
    images = torch.arange(4.0).reshape(4, *([1] * (len(shape) - 1))).expand(shape)
    target = torch.arange(4)
    for place in range(5):
        new, soft = CutMix(classes=4).on_batch_start(run_at(place), (images, target))
        pixels = new if new.ndim == 3 else new[:, 0]
        for image, shares in zip(pixels, soft, strict=True):
            counted = torch.stack([(image == number).float().mean() for number in range(4)])
            assert torch.allclose(counted, shares)


def test_the_batch_itself_is_left_alone() -> None:
    images = torch.arange(4.0).reshape(4, 1, 1).expand(4, 8, 8).clone()
    before = images.clone()
    CutMix(classes=4).on_batch_start(run_at(1), (images, torch.arange(4)))

    assert torch.equal(images, before)


def test_rows_without_pixels_are_refused() -> None:
    task = tiny_classification()
    with pytest.raises(DataError, match="there are none"):
        task.trainer(callbacks=[CutMix(classes=3)]).fit(task.train, steps=1)


def test_a_real_run_trains_on_mixed_pictures() -> None:
    task = tiny_pictures()
    result = task.trainer(callbacks=[CutMix(classes=3)]).fit(task.train, steps=2)

    assert result.outcome.step == 2


def test_an_error_of_the_loss_names_the_classes_that_the_model_has() -> None:
    task = tiny_pictures()
    with pytest.raises(RuntimeError) as caught:
        task.trainer(callbacks=[CutMix(classes=5)]).fit(task.train, steps=1)

    assert any("give it classes=3" in note for note in caught.value.__notes__)
