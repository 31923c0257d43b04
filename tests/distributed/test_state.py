from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.distributed.state import load_model_state, model_state

# On two processes, sharded and whole: tests/distributed/test_parallel.py.


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_plain_model_s_state_is_its_own() -> None:
    model = make()
    for whole in (False, True):
        state = model_state(model, whole=whole)
        assert list(state) == list(model.state_dict())
        assert all(torch.equal(state[n], value) for n, value in model.state_dict().items())


@pytest.mark.slow  # torch.compile takes seconds to import
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_what_torch_compile_wraps_keeps_the_user_s_names() -> None:
    model = make()
    assert list(model_state(torch.compile(model))) == list(model.state_dict())  # type: ignore[arg-type]


def test_a_model_goes_on_from_its_state() -> None:
    model, other = make(), make()
    load_model_state(other, model_state(model))
    x = torch.randn(5, 3)
    assert torch.equal(other.eval()(x), model.eval()(x))


def test_a_name_that_the_model_does_not_have_is_an_error_unless_it_may_be() -> None:
    model = make()
    state = {**model_state(model), "more": torch.ones(1)}
    with pytest.raises(RuntimeError, match="more"):
        load_model_state(model, state)
    load_model_state(model, state, strict=False)
