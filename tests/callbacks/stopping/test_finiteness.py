from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.callbacks.stopping.finiteness import LateFlag, tensors_in, weights
from trackside.step.precision import non_finite

BAD = [float("nan"), float("inf"), -float("inf")]


def test_finite_values_leave_no_flag() -> None:
    flag = LateFlag()
    bad = flag.add(torch.tensor(1e38), 1, "the loss")

    assert flag.glance() is None
    assert flag.look() is None
    assert bad.item() == 0
    assert flag.finite_until == 1


@pytest.mark.parametrize("bad", BAD)
def test_the_first_bad_step_is_remembered(bad: float) -> None:
    flag = LateFlag()
    values = [0.5, bad, 0.5, bad]
    told = [flag.add(torch.tensor(v), n, "the loss").item() for n, v in enumerate(values, start=1)]

    assert told == [0, 1, 0, 1]
    assert flag.glance() == flag.look() == (2, "the loss")


def test_of_several_kinds_the_one_that_was_bad_first_is_named() -> None:
    flag = LateFlag()
    for step, what, value in [
        (1, "the loss", 0.5),
        (1, "a gradient", BAD[0]),
        (2, "the loss", BAD[1]),
    ]:
        flag.add(torch.tensor(value), step, what)

    assert flag.look() == (1, "a gradient")


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
