"""Batches that a graph can't tell apart have one form, all others have another."""

from __future__ import annotations

import torch

from trackside.step.forms import form_of


def test_the_form_of_a_batch_is_its_structure_shapes_and_types() -> None:
    batch = {"x": [torch.ones(2, 3), "text", 4], "y": None}
    assert form_of(batch) == form_of({"x": [torch.zeros(2, 3), "text", 4], "y": None})
    for other in (
        {"x": [torch.ones(2, 4), "text", 4], "y": None},
        {"x": [torch.ones(2, 3).double(), "text", 4], "y": None},
        {"x": [torch.ones(2, 3), "text", 5], "y": None},
        {"x": (torch.ones(2, 3), "text", 4), "y": None},
        {"z": [torch.ones(2, 3), "text", 4], "y": None},
    ):
        assert form_of(batch) != form_of(other)
