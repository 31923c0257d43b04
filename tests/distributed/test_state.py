from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.distributed.state import load_model_state, model_state, placement

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


class Part(torch.Tensor):
    """Looks like a DTensor of its own shape."""

    device_mesh = None


def sharded(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                made: nn.Parameter = torch.Tensor._make_subclass(Part, parameter.detach())  # type: ignore[assignment]
                module._parameters[name] = made
    return model


def test_where_nothing_is_sharded_nothing_is_placed() -> None:
    assert placement({"model": make()}, {}) is None


def test_a_saved_tensor_is_placed_as_the_parameter_that_its_path_leads_to() -> None:
    model = sharded(make())
    weight, bias = model[0].weight, model[0].bias  # type: ignore[index]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    optimizer.param_groups[0]["params"] = [weight, bias]
    placed_as = placement({"model": model}, {"of.it": optimizer})
    assert placed_as is not None

    for path in ("models.model.0.weight", "callbacks.ema.averages.0.9.model.0.weight"):
        assert placed_as(path, (4, 3)) is weight
    assert placed_as("optimizers.of.it.state.1.exp_avg", (4,)) is bias
    assert placed_as("optimizers.of.it.state.1.step", ()) is None, "of another shape: whole"
    assert placed_as("models.model.1.running_mean", (4,)) is None
    assert placed_as("callbacks.table", (4, 3)) is None
