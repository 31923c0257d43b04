"""Waits for the device, found with file and line, also without an accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.device import NAME
from trackside.machine.waits import watched_waits

READINGS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda value: value.mean().item(),
    "tolist": lambda value: value.tolist(),
    "cpu": lambda value: value.cpu(),
    "to": lambda value: value.to("cpu"),
    "__bool__": lambda value: bool(value.mean() > 2),
    "__float__": lambda value: float(value[0]),
    "__int__": lambda value: int(value[0]),
    "__format__": lambda value: f"{value[0]}",
    "__repr__": lambda value: repr(value),
    "equal": lambda value: torch.equal(value, value),
    "nonzero": lambda value: value.nonzero(),
}


@pytest.mark.parametrize("name", READINGS)
def test_whoever_reads_a_value_is_found(name: str) -> None:
    value = torch.ones(3, device=NAME)
    with watched_waits() as waits:
        READINGS[name](value)

    assert name in [wait.what for wait in waits]
    assert {wait.file for wait in waits} == {__file__}


def test_the_line_is_the_nearest_outside_of_torch() -> None:
    value = torch.ones(3, device=NAME)
    with watched_waits() as waits:
        line = READINGS["item"].__code__.co_firstlineno
        READINGS["item"](value)

    assert [wait.line for wait in waits] == [line]


def test_arithmetic_shapes_and_copies_on_the_device_wait_for_nothing() -> None:
    value = torch.ones(3, 2, device=NAME)
    with watched_waits() as waits:
        total = torch.zeros((), device=NAME)
        total += (value @ value.T).norm() * value.shape[0]
        torch.nn.utils.get_total_norm([value, total])
        value.detach().clone().double().to(value.device, non_blocking=True)

    assert waits == []


def test_values_made_on_the_host_may_be_read() -> None:
    with watched_waits() as waits:
        made = torch.tensor([3.0]) * 2
        assert made.item() == 6.0
        assert torch.arange(2).tolist() == [0, 1]

    assert waits == []


def test_outside_nothing_is_noted() -> None:
    with watched_waits() as waits:
        pass
    torch.ones(1).item()

    assert waits == []
