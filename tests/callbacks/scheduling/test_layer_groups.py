"""Layer groups: patterns, optimizer groups, batch norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from trackside.callbacks.scheduling.layer_groups import (
    group_of,
    norms_by_group,
    parameters_by_group,
    split_off,
)
from trackside.errors import ConfigurationError


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False), nn.Linear(2, 1))


def test_a_pattern_is_a_wildcard_or_the_name_of_a_part() -> None:
    patterns = ["encoder.*.bias", "encoder"]

    assert group_of("encoder.0.bias", patterns) == "encoder.*.bias"
    assert group_of("encoder.0.weight", patterns) == "encoder"
    assert group_of("encoder2.weight", patterns) is None


def test_each_parameter_belongs_to_the_first_pattern_that_it_fits() -> None:
    found = parameters_by_group({"model": model()}, ["0.bias", "0", "*"])

    assert [[tuple(p.shape) for p in group] for group in found.values()] == [
        [(2,)],
        [(2, 2)],
        [(1, 2), (1,)],
    ]


def test_a_pattern_that_is_left_with_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no parameter is left for '0\.bias'"):
        parameters_by_group({"model": model()}, ["0", "0.bias"])


def test_with_several_models_names_begin_with_the_models() -> None:
    found = parameters_by_group({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}, ["a"])

    assert len(found["a"]) == 2


def test_a_batch_norm_without_weights_belongs_where_it_stands() -> None:
    found = norms_by_group({"model": model()}, ["1", "2"])

    assert [len(norms) for norms in found.values()] == [1, 0]


def test_parameters_get_a_group_of_their_own_with_the_options_of_the_old_one() -> None:
    layers = model()
    first, *rest = layers.parameters()
    optimizer = SGD(layers.parameters(), lr=0.5, momentum=0.9)
    split_off(optimizer, [first], 0.1)

    kept, own = optimizer.param_groups
    assert [len(kept["params"]), len(own["params"])] == [len(rest), 1]
    assert own["params"][0] is first
    assert (own["lr"], own["momentum"], kept["lr"]) == (0.05, 0.9, 0.5)


def test_a_group_that_is_left_empty_goes() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = AdamW([parameter], lr=1.0)
    split_off(optimizer, [parameter], 0.5)

    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
