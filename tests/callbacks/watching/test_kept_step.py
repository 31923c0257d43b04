"""A repeated update leaves the optimizer and its weights as they are."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import AdamW

from trackside.callbacks.watching.kept_step import update_again


def test_a_repeated_update_touches_no_tensor_of_the_run() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = AdamW([parameter], lr=0.1)
    parameter.grad = torch.ones(2)
    optimizer.step()
    before, place, state = (
        parameter.detach().clone(),
        parameter.data_ptr(),
        optimizer.state[parameter],
    )

    weights, _ = update_again(
        optimizer, {parameter: torch.ones(2)}, {parameter: torch.ones(2)}, {}, [{"lr": 0.5}]
    )

    assert torch.allclose(weights[parameter], torch.tensor([0.495, 0.495]))
    assert torch.equal(parameter.detach(), before)
    assert parameter.data_ptr() == place
    assert optimizer.state[parameter] is state
    assert optimizer.param_groups[0]["lr"] == 0.1
