from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.callbacks.stopping.finiteness import LateFlag, tensors_in, weights
from trackside.step.precision import non_finite

BAD = [float("nan"), float("inf"), -float("inf")]


def test_finite_values_leave_no_flag() -> None:
    flag = LateFlag()
    flag.add(torch.tensor(1e38), 1)

    assert flag.glance() is None
    assert flag.look() is None


@pytest.mark.parametrize("bad", BAD)
def test_the_first_bad_step_is_remembered(bad: float) -> None:
    flag = LateFlag()
    for step, value in enumerate([0.5, bad, 0.5, bad], start=1):
        flag.add(torch.tensor(value), step)

    assert flag.glance() == flag.look() == 2


def test_a_flag_that_saw_nothing_says_nothing() -> None:
    assert LateFlag().glance() is None
    assert LateFlag().look() is None


def test_tensors_are_named_by_their_place() -> None:
    batch = ({"image": torch.zeros(1)}, [torch.ones(1), "text"])

    assert [name for name, _ in tensors_in(batch, "batch")] == ["batch[0]['image']", "batch[1][0]"]


def test_buffers_are_weights_too() -> None:
    model = nn.BatchNorm1d(2)
    model.running_mean = torch.tensor([0.0, float("nan")])

    assert non_finite(weights({"model": model}, without={})) == ["running_mean"]
    assert non_finite(weights({"a": model, "b": nn.ReLU()}, without={})) == ["a.running_mean"]
