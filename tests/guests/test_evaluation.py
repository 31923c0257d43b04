"""Values of another trainer's evaluation, under Trackside's names."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trackside.guests.evaluation import GuestEvaluation, named, numbers


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("val_loss", "val/loss"),
        ("eval_loss", "val/loss"),
        ("validation/f1_score", "val/f1_score"),
        ("loss", "val/loss"),
        ("value_at_3", "val/value_at_3"),
        ("val", "val/val"),
        ("f1/macro", "val/f1_macro"),
    ],
)
def test_a_name_of_theirs_becomes_one_of_ours(theirs: str, ours: str) -> None:
    assert named("val", theirs) == ours


def test_only_single_numbers_are_taken() -> None:
    found = numbers({"a": torch.tensor(2.0), "b": 1, "c": torch.ones(2), "d": "text", "e": None})

    assert found == {"a": 2.0, "b": 1.0}


def test_a_value_that_is_not_finite_is_kept_as_such() -> None:
    assert math.isnan(numbers({"a": math.nan})["a"])
    assert numbers({"a": math.inf})["a"] == math.inf


def test_samples_that_cannot_be_counted_are_unknown_and_not_none() -> None:
    training: Any = SimpleNamespace(fire=lambda *heard: None)
    one = GuestEvaluation(training, "val")
    one.batch_end((torch.ones(4, 2), torch.ones(4)), None)
    assert one.evaluation.samples_completed == 4
    one.batch_end(object(), None)
    one.batch_end(torch.ones(4, 2), None)
    assert math.isnan(one.evaluation.samples_completed)
