"""Differences between versions of torch and kinds of accelerator, each in one place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trackside.errors import ConfigurationError


def accelerator() -> torch.device | None:
    """The kind of accelerator that this machine has, or None.

    `current_accelerator(check_available=True)` would do, but torch 2.6 can't be asked so.
    """
    if not torch.accelerator.is_available():
        return None
    return torch.accelerator.current_accelerator()


def is_in_use(device: torch.device) -> bool:
    """Whether this process may have computed on `device`: none that was forked can."""
    asked = getattr(torch.get_device_module(device), "is_initialized", None)
    return asked is None or bool(asked())


def device_name(device: torch.device) -> str:
    """The name of a device as its maker has it, else its kind: `cpu`."""
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    return device.type if named is None else str(named(device))


def generator_states(device: torch.device) -> list[Tensor]:
    """The states of the default generators of all devices of this kind.

    `torch.accelerator` doesn't offer them, and each kind's module offers something else: MPS has
    one generator and takes no device.
    """
    module: Any = torch.get_device_module(device)
    if hasattr(module, "get_rng_state_all"):
        return list(module.get_rng_state_all())
    return [module.get_rng_state()]


def set_generator_states(device: torch.device, states: list[Tensor]) -> None:
    """Put the generators back to what `generator_states` returned."""
    module: Any = torch.get_device_module(device)
    if hasattr(module, "set_rng_state_all"):
        module.set_rng_state_all([state.cpu() for state in states])
    else:
        module.set_rng_state(states[0].cpu())


def memory_counters(device: torch.device) -> Any:
    """The module with `memory_allocated` and its like for `device`.

    None where torch doesn't count: on the host, on MPS, on devices whose package leaves it out.
    `torch.accelerator` has them from torch 2.9 on.
    """
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    return module if hasattr(module, "reset_peak_memory_stats") else None


def empty_cache(device: torch.device) -> None:
    """Give memory that torch keeps back for later to the device; a CPU has none.

    `torch.accelerator` has this from torch 2.9 on.
    """
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def exact_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which sums are kept: double precision, single on MPS, which has no double."""
    return torch.float32 if device.type == "mps" else torch.float64


def second_connection(store: Any) -> Any:
    """Another connection to a store of ranks: a wait in one blocks it for others.

    Raises:
        ConfigurationError: torch 2.6 can't open one, so that a failed rank could not be noticed.
    """
    if not hasattr(store, "clone"):
        raise ConfigurationError(
            "several processes can't be watched with this torch",
            expected="torch 2.8 or newer",
            received=f"torch {torch.__version__}",
            remedy="train in one process, or update torch",
        )
    return store.clone()


def forget_example_inputs(program: Any) -> None:
    """Take the inputs that a program was exported with out of it; torch 2.6 has no public way."""
    try:
        program.example_inputs = None
    except ValueError:
        program._example_inputs = None
