"""Parts that can't be used are refused when the trainer is made."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch import nn

from trackside import Trainer
from trackside.errors import ConfigurationError
from trackside.planning.parts import models_by_name
from trackside.testing import tiny_regression


class Wide(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()


@pytest.mark.parametrize("name", ["model", "loss", "optimizer", "scheduler"])
@pytest.mark.parametrize("part", [3, "adam", object()])
def test_what_is_no_part_is_refused_with_its_option(name: str, part: Any) -> None:
    with pytest.raises(ConfigurationError) as info:
        Trainer(**{"defaults": False, name: part})
    assert info.value.option == name


@pytest.mark.parametrize("model", [Wide, partial(nn.Linear, 4, 1), lambda width=4: Wide(width)])
def test_a_model_can_come_from_anything_that_needs_no_argument(model: Any) -> None:
    assert Trainer(model, defaults=False).model is model


def test_a_single_model_is_called_model() -> None:
    assert list(models_by_name(Wide())) == ["model"]


def test_a_lazy_model_that_has_seen_a_batch_is_taken() -> None:
    model = nn.LazyLinear(1)
    model(nn.Linear(2, 3).weight)
    assert models_by_name(model) == {"model": model}


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_that_torch_can_not_take_is_refused(seed: int) -> None:
    with pytest.raises(ConfigurationError, match="can't be used") as caught:
        tiny_regression().trainer(seed=seed)

    assert caught.value.option == "seed"
