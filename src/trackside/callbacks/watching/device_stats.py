"""`DeviceStats`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, final

import torch

from trackside.imports.extras import optional_package
from trackside.lifecycle.hooks import Callback
from trackside.machine.accelerator import memory_counters
from trackside.run import Run

if TYPE_CHECKING:
    pass


@final
class DeviceStats(Callback):
    """Records how busy the machine is, whenever a record is made.

    - `device/cpu_percent`: of all cores together, since the record before.
    - `device/host_memory_percent`: of the machine's memory.
    - `device/process_memory_bytes`: of this process.
    - `device/memory_bytes`: of tensors on the accelerator, now.
    - `device/utilization_percent`: of a CUDA device, where `nvidia-ml-py` is installed.

    The figures are those of this rank's machine and device. Nobody waits for the device.

    Needs `pip install 'trackside[watching]'`.

    Raises:
        ConfigurationError: The package psutil isn't installed.

    Example:
        >>> DeviceStats()
        DeviceStats()
    """

    effect = "observes"
    on_error = "warn"
    logs = ("device/*",)

    def __init__(self) -> None:
        self._psutil = optional_package("psutil", needed_by="DeviceStats", extra="watching")
        self._process: Any = None

    def on_fit_start(self, run: Run) -> None:
        self._process = self._psutil.Process()
        self._psutil.cpu_percent()  # begins the interval that the next call reports

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values["device/cpu_percent"] = self._psutil.cpu_percent()
        values["device/host_memory_percent"] = self._psutil.virtual_memory().percent
        values["device/process_memory_bytes"] = float(self._process.memory_info().rss)
        device = run.device
        counters = memory_counters(device)
        if counters is not None:
            values["device/memory_bytes"] = float(counters.memory_allocated(device))
        if device.type == "cuda" and find_spec("pynvml") is not None:
            values["device/utilization_percent"] = float(torch.cuda.utilization(device))
