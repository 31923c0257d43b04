"""What differs between devices is asked of torch in one way."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trackside.errors import ConfigurationError
from trackside.machine import accelerator, randomness

GPU = torch.device("cuda")


def test_memory_is_given_back_by_the_module_of_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied: list[str] = []
    module = SimpleNamespace(empty_cache=lambda: emptied.append("cuda"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    accelerator.empty_cache(torch.device("cpu"))
    assert emptied == []
    accelerator.empty_cache(GPU)
    assert emptied == ["cuda"]


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The generators of a machine with two accelerators."""
    states = {"now": [torch.tensor([1]), torch.tensor([2])]}
    module = SimpleNamespace(
        get_rng_state_all=lambda: states["now"],
        set_rng_state_all=lambda given: states.update(now=given),
    )
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: GPU)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    return states


@pytest.mark.cpu("a machine without an accelerator")
def test_a_machine_without_an_accelerator_has_none() -> None:
    assert accelerator.accelerator() is None


def test_the_generators_of_all_devices_are_captured_and_put_back(devices: dict[str, Any]) -> None:
    state = randomness.capture()
    devices["now"] = [torch.tensor([8]), torch.tensor([9])]

    randomness.restore(state)

    assert [int(one) for one in devices["now"]] == [1, 2]


def test_generators_of_a_device_that_this_machine_lacks_are_left_alone(
    devices: dict[str, Any],
) -> None:
    state = {**randomness.capture(), "xpu": [torch.tensor([7])]}
    del state["cuda"]

    randomness.restore(state)

    assert [int(one) for one in devices["now"]] == [1, 2]


def test_a_kind_with_one_generator_is_asked_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [torch.tensor([3])]
    module = SimpleNamespace(get_rng_state=lambda: held[0], set_rng_state=held.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)

    states = accelerator.generator_states(torch.device("mps"))
    accelerator.set_generator_states(torch.device("mps"), states)

    assert [int(one) for one in held] == [3, 3]


def test_several_processes_are_refused_where_torch_can_not_watch_them() -> None:
    with pytest.raises(ConfigurationError, match="several processes can't be watched"):
        accelerator.second_connection(object())


def drawn(seed: Callable[[int], None]) -> tuple[float, float, float]:
    with randomness.preserved():
        seed(2**40 + 5)
        return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_worker_draws_what_it_would_with_all_devices_seeded() -> None:
    assert drawn(randomness.seed_worker) == drawn(randomness.seed_everything)


@pytest.mark.parametrize("in_use", [True, False])
def test_a_worker_seeds_devices_where_it_can_compute_on_them(
    in_use: bool, devices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded: list[int] = []
    module = SimpleNamespace(is_initialized=lambda: in_use)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    randomness.seed_worker(3)
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])
    random.setstate(state[2])
    assert seeded == [3] * in_use
