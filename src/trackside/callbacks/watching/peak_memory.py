"""`PeakMemory`."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, final

from trackside.lifecycle.hooks import Callback
from trackside.machine.accelerator import memory_counters
from trackside.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


@final
class PeakMemory(Callback):
    """Records the most memory that was in use, once per pass over the training data.

    - `memory/host_peak_bytes`: of this process since it began.
    - `memory/device_peak_bytes`: of tensors on the accelerator, since the record before.
    - `memory/device_reserved_bytes`: the most that torch had reserved for them, since then.

    Each is the greatest over all ranks. The counters are kept by the system and by torch anyway:
    nothing is measured in a step.

    Example:
        >>> PeakMemory()
        PeakMemory()
    """

    effect = "observes"
    on_error = "warn"
    calls_collectives = True
    logs = ("memory/*",)

    def on_fit_start(self, run: Run) -> None:
        _reset(run.device)

    def on_train_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        mine = {"memory/host_peak_bytes": float(host_peak_bytes()), **_device_peaks(run.device)}
        for name, value in run.world.all_reduce(mine, "max").items():
            run.log(name, value, weight=1)
        _reset(run.device)


def host_peak_bytes() -> int:
    """The most memory that this process has held since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kilobytes


def _device_peaks(device: torch.device) -> dict[str, float]:
    counters = memory_counters(device)
    if counters is None:
        return {}
    return {
        "memory/device_peak_bytes": float(counters.max_memory_allocated(device)),
        "memory/device_reserved_bytes": float(counters.max_memory_reserved(device)),
    }


def _reset(device: torch.device) -> None:
    counters = memory_counters(device)
    if counters is not None:
        counters.reset_peak_memory_stats(device)
