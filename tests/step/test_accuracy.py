"""Accuracy knows the shapes that it is given, and refuses the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot

from trackside import accuracy
from trackside.errors import DataError

CLASSES = torch.tensor([0, 2, 1, 2, 0])
SCORES = one_hot(CLASSES, 3).float()
SIGNS = torch.tensor([1.0, -2.0, 3.0, -4.0])
PICTURES = torch.arange(4 * 2 * 5).reshape(4, 2, 5) % 3
TEXTS = torch.arange(20).reshape(4, 5) % 5


@pytest.mark.parametrize(
    ("prediction", "target", "options", "expected"),
    [
        (SCORES, CLASSES, {}, 1.0),
        (SCORES, (CLASSES + 1) % 3, {}, 0.0),
        (SCORES, one_hot(CLASSES, 3), {}, 1.0),
        (SCORES, SCORES.roll(1, 1), {}, 0.0),
        (SIGNS, torch.tensor([1.0, 0, 0, 0]), {}, 0.75),
        (SIGNS[:, None], torch.tensor([1, 0, 0, 0]), {}, 0.75),
        (SIGNS[:, None], torch.tensor([[1.0], [0], [0], [0]]), {}, 0.75),
        (SIGNS, torch.tensor([[1], [0], [0], [0]]), {}, 0.75),
        (one_hot(PICTURES, 3).movedim(-1, 1).float(), PICTURES, {}, 1.0),
        (one_hot(PICTURES, 3).float(), PICTURES, {"class_dim": -1}, 1.0),
        (one_hot(TEXTS, 5).float(), TEXTS, {"class_dim": -1}, 1.0),
        (SCORES, torch.tensor([0, -100, -100, 2, 1]), {}, 2 / 3),
        (SCORES, torch.tensor([0, 9, 9, 2, 1]), {"ignore_index": 9}, 2 / 3),
    ],
)
def test_the_share_is_that_of_the_shapes(
    prediction: Any, target: Any, options: Any, expected: float
) -> None:
    assert accuracy(prediction, target, **options).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        (SCORES, CLASSES[:, None]),
        (SCORES, CLASSES.float()),
        (SCORES, torch.ones(5, 3)),
        (SCORES, CLASSES[:4]),
        (CLASSES, CLASSES),
        (one_hot(PICTURES, 3).float(), PICTURES),
        (one_hot(TEXTS, 5).float(), TEXTS),
        (torch.zeros(4, 1, 2), torch.zeros(4, 2, dtype=torch.long)),
        (torch.zeros(()), torch.zeros(())),
    ],
)
def test_other_shapes_are_refused_with_both(prediction: Any, target: Any) -> None:
    with pytest.raises(DataError, match=r"prediction .*\(.*target"):
        accuracy(prediction, target)
