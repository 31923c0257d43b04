from __future__ import annotations

import torch
from torch import nn

from trackside.step.began_infinite import began_infinite


def test_what_is_not_trained_and_not_finite_is_named_by_model() -> None:
    model = nn.Linear(2, 1)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    model.register_buffer("mean", torch.zeros(2))
    model.frozen = nn.Parameter(torch.tensor(torch.nan), requires_grad=False)

    assert began_infinite({"a": model, "b": nn.Linear(2, 1)}) == {
        "a": frozenset({"mask", "frozen"}),
        "b": frozenset(),
    }


def test_what_is_trained_has_to_be_finite_from_the_beginning() -> None:
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(torch.inf)

    assert began_infinite({"model": model}) == {"model": frozenset()}
