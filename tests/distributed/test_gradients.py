from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.distributed.gradients import clip_by_norm

# Sharded gradients: tests/distributed/test_parallel.py, on two processes.


def model_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    model(torch.randn(5, 4)).square().sum().backward()
    return model


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_without_shards_it_is_torch_s_own_clipping_bit_by_bit(norm_type: float) -> None:
    mine, theirs = model_with_gradients(), model_with_gradients()
    found = clip_by_norm(mine.parameters(), 0.5, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5, norm_type)
    assert torch.equal(found, expected)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_parameters_without_gradients_are_passed_over() -> None:
    model = nn.Linear(2, 2)
    assert clip_by_norm(model.parameters(), 1.0).item() == 0.0
