"""Counters of energy that a machine has: of processors in Linux, of GPUs in NVIDIA's library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
"""Linux keeps counters of energy there: a folder for each part of the machine, called a zone."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of energy that grows, and may begin again at 0."""

    name: str
    read: Callable[[], float]
    """Joules since some moment. Raises `OSError` where they can't be read."""
    range_joules: float | None = None
    """Joules after which it begins again at 0; None: never, as long as nobody resets it."""


class Meter:
    """Joules that counters have counted since `start`.

    Args:
        counters: Each counts another part of the machine.
    """

    def __init__(self, counters: Iterable[Counter]) -> None:
        self.counters = list(counters)
        self.joules = 0.0
        self.resets = 0
        """How often a counter went back without reason: what it counted meanwhile isn't known."""
        self._last: dict[str, float] = {}

    @property
    def has_started(self) -> bool:
        return bool(self._last)

    def start(self) -> None:
        """Count from now on. Raises `OSError`."""
        self._last = {one.name: one.read() for one in self.counters}

    def update(self) -> float:
        """Read the counters; the joules so far. Raises `OSError`.

        It has to be called before a counter has come twice to its end.
        """
        for one in self.counters:
            now = one.read()
            grown = now - self._last[one.name]
            self._last[one.name] = now
            if grown < 0 and one.range_joules is not None:
                grown += one.range_joules
            if grown < 0:
                self.resets += 1
                grown = 0.0
            self.joules += grown
        return self.joules


def of_processors(root: Path | None = None) -> tuple[list[Counter], str]:
    """Counters of the machine's processors and their memory; without any, why.

    Taken are packages and the memory beside them (`dram`). Cores and graphics are parts of a
    package, and `psys` has packages in it: with them, energy would count twice.

    Args:
        root: The folder of zones; None takes that of Linux.
    """
    root = POWERCAP if root is None else root
    zones = list(_zones(root))
    if not zones:
        return [], f"{root} has no counter of a processor"
    counters = [_counter(name, path) for name, path in zones]
    for one, (_, path) in zip(counters, zones, strict=True):
        try:
            one.read()
        except (OSError, ValueError) as error:
            return [], f"{path / 'energy_uj'} can't be read ({error}); Linux lets only root do so"
    return counters, ""


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each zone that counts: `package-0`, `package-0/dram`."""
    names: dict[str, str] = {}
    for path in sorted(root.glob("intel-rapl:*")) if root.is_dir() else ():
        try:
            names[path.name] = (path / "name").read_text().strip()
        except OSError:
            continue  # no zone
    for zone, name in names.items():
        above = names.get(zone.rpartition(":")[0], "")
        if name.startswith("package"):
            yield name, root / zone
        elif name == "dram" and above.startswith("package"):
            yield f"{above}/{name}", root / zone


def _counter(name: str, path: Path) -> Counter:
    """The counter of a zone, which is in millionths of a joule."""
    try:
        wraps = int((path / "max_energy_range_uj").read_text()) / 1e6
    except (OSError, ValueError):
        wraps = None
    return Counter(name, lambda: int((path / "energy_uj").read_text()) / 1e6, wraps)


def of_gpu(device: torch.device) -> tuple[list[Counter], str]:
    """The counter of a GPU of NVIDIA; without one, why."""
    try:
        nvml: Any = import_module("pynvml")
    except ModuleNotFoundError:
        return [], "the package nvidia-ml-py isn't installed"
    try:
        nvml.nvmlInit()
        number = torch.cuda.get_device_properties(device).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{number}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError as error:
        return [], f"NVIDIA's library has no figure: {error}"

    def joules() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except nvml.NVMLError as error:
            raise OSError(f"NVIDIA's library has no figure: {error}") from error

    return [Counter(f"GPU-{number}", joules)], ""
