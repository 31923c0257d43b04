"""What a recorded step is fixed for is seen before each replay; what can't be is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

from trackside.errors import UsageError
from trackside.step.capturing import (
    NotInGraphs,
    buffers_for,
    draws_nothing_on_the_host,
    fill,
    fits,
    generators_of,
    place_in_user_code,
    python_state,
)


class Owner:
    """A trainer with a number."""

    weight = 1.0

    def __init__(self) -> None:
        self.factor = 1.0


def parts() -> tuple[nn.Sequential, SGD, Owner]:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.1))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    return model, optimizer, Owner()


Change = Callable[[Any, Any, Any], Any]
CHANGES: dict[str, Change] = {
    "mode": lambda model, optimizer, owner: model[1].eval(),
    "number of a module": lambda model, optimizer, owner: setattr(model[2], "p", 0.3),
    "number of the trainer": lambda model, optimizer, owner: setattr(owner, "factor", 2.0),
    "frozen": lambda model, optimizer, owner: model[0].weight.requires_grad_(False),
    "other memory": lambda model, optimizer, owner: setattr(
        model[0].weight, "data", model[0].weight.data.clone()
    ),
    "another buffer": lambda model, optimizer, owner: setattr(
        model[1], "running_mean", torch.zeros(2)
    ),
    "number of a group": lambda model, optimizer, owner: optimizer.param_groups[0].update(
        momentum=0.5
    ),
    "another group": lambda model, optimizer, owner: optimizer.add_param_group(
        {"params": [nn.Parameter(torch.ones(1))]}
    ),
    "another state": lambda model, optimizer, owner: optimizer.load_state_dict(
        {**optimizer.state_dict(), "state": {0: {"momentum_buffer": torch.ones(2, 2)}}}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_graph_is_fixed_for_is_seen(change: str) -> None:
    model, optimizer, owner = parts()
    before = python_state([model], [optimizer], owner)
    assert before is not None
    assert python_state([model], [optimizer], owner) == before
    CHANGES[change](model, optimizer, owner)
    assert python_state([model], [optimizer], owner) != before


def test_a_rate_is_no_part_of_it() -> None:
    model, optimizer, owner = parts()
    before = python_state([model], [optimizer], owner)
    optimizer.param_groups[0]["lr"] = 0.7
    assert python_state([model], [optimizer], owner) == before


HOOKS: dict[str, Change] = {
    "forward": lambda model, optimizer, owner: model[0].register_forward_hook(print),
    "before forward": lambda model, optimizer, owner: model[0].register_forward_pre_hook(print),
    "backward": lambda model, optimizer, owner: model[0].register_full_backward_hook(print),
    "gradient": lambda model, optimizer, owner: model[0].weight.register_hook(print),
    "update": lambda model, optimizer, owner: optimizer.register_step_post_hook(print),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_of_torch_are_never_recorded(hook: str) -> None:
    model, optimizer, owner = parts()
    HOOKS[hook](model, optimizer, owner)
    assert python_state([model], [optimizer], owner) is None


def test_batches_of_tensors_and_constants_fit() -> None:
    assert fits({"x": [torch.ones(1), 3, "text", None]})
    assert not fits([torch.ones(1), object()])


def test_buffers_take_what_comes() -> None:
    buffers = buffers_for({"x": [torch.ones(2), 3]}, torch.device("cpu"))
    kept = buffers["x"][0]
    fill(buffers, {"x": [torch.tensor([4.0, 5.0]), 3]})
    assert kept.tolist() == [4, 5]
    assert buffers["x"][1] == 3


def test_generators_of_modules_are_found_once() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    generator = torch.Generator()
    for layer in model:
        layer.generator = generator  # type: ignore[assignment]
    assert generators_of([model, model], torch.device("cpu")) == [generator]


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(1)])
def test_draws_on_the_host_are_refused_and_put_back(draw: Callable[[], Any]) -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    drawn: list[float] = []
    with (
        pytest.raises(UsageError, match="draws random numbers on the host"),
        draws_nothing_on_the_host(),
    ):
        drawn.append(float(draw()))
    assert drawn == [float(draw())]


def test_what_is_not_in_graphs_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="is used in a step that is recorded"):
        NotInGraphs("run.progress").steps_completed  # noqa: B018


@pytest.mark.not_standin("frames of torch that are in C++")
def test_the_line_of_the_user_is_found_behind_frames_of_torch() -> None:
    with pytest.raises(RuntimeError) as raised:
        nn.Linear(2, 2)(torch.ones(3))
    assert "nn.Linear(2, 2)(torch.ones(3))" in place_in_user_code(raised.value)
