from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trackside.distributed.materialize import build_without_memory, materialize
from trackside.errors import ConfigurationError

CPU = torch.device("cpu")


class OldStyle(nn.Module):
    """Sets the tensors of its children, through `.data`, and makes a buffer anew."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.register_buffer("angles", torch.empty(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.angles = torch.arange(3.0)
        self.inner.weight.data.normal_(0.0, 0.02)


class Partly(nn.Module):
    """Changes a part of what its child has set."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.embedding.weight[0].zero_()


class Forgets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("table", torch.arange(3.0))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)


def tied(keeps: str = "in", gives_up: str = "out") -> nn.Module:
    model = nn.ModuleDict({"in": nn.Linear(3, 3), "out": nn.Linear(3, 3)})
    model[gives_up].weight = model[keeps].weight
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 2),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
    "recurrent": lambda: nn.LSTM(3, 4, num_layers=2),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "encoder": lambda: nn.TransformerEncoderLayer(4, 2, 8),
    "transformer": lambda: nn.Transformer(4, 2, 1, 1, 8, batch_first=True),
    "old style": OldStyle,
    "partly": Partly,
    "converted": lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double(),
    "tied to the first": tied,
    "tied to the second": lambda: tied("out", "in"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_initial_values_are_bitwise_those_of_the_constructor(name: str) -> None:
    torch.manual_seed(7)
    expected = MODELS[name]()
    after = torch.rand(1)
    model = build_without_memory(MODELS[name])
    torch.manual_seed(7)
    materialize(model, CPU)
    assert torch.equal(torch.rand(1), after)  # and as many random numbers were drawn
    found = model.state_dict()
    assert list(found) == list(expected.state_dict())
    for key, value in expected.state_dict().items():
        assert torch.equal(found[key], value), key


def test_tied_parameters_stay_tied() -> None:
    with torch.device("meta"):
        model = tied()
    materialize(model, CPU)
    assert model["out"].weight is model["in"].weight  # type: ignore[index]


def test_frozen_parameters_stay_frozen() -> None:
    with torch.device("meta"):
        model = nn.Linear(2, 2).requires_grad_(False)
    materialize(model, CPU)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (Forgets, "`table`"),
        (lambda: nn.Sequential(Forgets()), "`0.table`"),
        (lambda: nn.ParameterDict({"w": nn.Parameter(torch.ones(2))}), "`w`"),
    ],
)
def test_what_no_reset_sets_is_refused_by_name(make: Callable[[], nn.Module], word: str) -> None:
    with torch.device("meta"):
        model = make()
    with pytest.raises(ConfigurationError, match=word):
        materialize(model, CPU)


def test_the_model_computes_afterwards() -> None:
    with torch.device("meta"):
        model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    materialize(model, CPU)
    output: Tensor = model(torch.ones(1, 3, 4))
    assert torch.isfinite(output).all()
