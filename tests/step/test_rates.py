"""Learning rates are lent to graphs as tensors; everybody else sees numbers."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD

from trackside.step.rates import Rates


def optimizer(*rates: float) -> SGD:
    return SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates], lr=1.0)


def test_lent_rates_are_tensors_with_the_present_numbers() -> None:
    of = optimizer(0.1, 0.2)
    rates = Rates(of, torch.device("cpu"))
    rates.lend()
    rates.take_back()
    of.param_groups[1]["lr"] = 0.3
    rates.lend()
    assert [group["lr"].item() for group in of.param_groups] == [0.1, 0.3]


def test_a_graph_finds_the_same_tensor_each_time() -> None:
    of = optimizer(0.1)
    rates = Rates(of, torch.device("cpu"))
    found = []
    for rate in (0.1, 0.2):
        of.param_groups[0]["lr"] = rate
        rates.lend()
        found.append(of.param_groups[0]["lr"])
        rates.take_back()
    assert found[0] is found[1]


def test_rates_that_are_taken_back_are_the_same_numbers() -> None:
    of = optimizer(0.1, 0.2)
    rates = Rates(of, torch.device("cpu"))
    rates.lend()
    rates.take_back()
    rates.take_back()
    assert [group["lr"] for group in of.param_groups] == [0.1, 0.2]


def test_a_rate_that_is_a_tensor_stays_as_it_is() -> None:
    own = torch.tensor(0.5)
    of = SGD([nn.Parameter(torch.ones(1))], lr=own, foreach=False)
    rates = Rates(of, torch.device("cpu"))
    rates.lend()
    assert of.param_groups[0]["lr"] is own
    rates.take_back()
    assert of.param_groups[0]["lr"] is own


def test_a_group_that_is_added_has_its_rate_lent_too() -> None:
    of = optimizer(0.1)
    rates = Rates(of, torch.device("cpu"))
    rates.lend()
    rates.take_back()
    of.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.7})
    rates.lend()
    assert of.param_groups[1]["lr"].item() == 0.7
    rates.take_back()
    assert of.param_groups[1]["lr"] == 0.7
