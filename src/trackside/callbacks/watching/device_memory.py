"""Torch's counters of a device's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from types import ModuleType


def memory_counters(device: torch.device) -> ModuleType | None:
    """The module with `memory_allocated` and its like for `device`.

    None where torch doesn't count: on the host, on MPS, on devices whose package leaves it out.
    """
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    return module if hasattr(module, "reset_peak_memory_stats") else None
