from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.callbacks.watching.zones import RANGE, set_energy, zone
from trackside.callbacks.watching.energy_counters import Counter, Meter, of_gpu, of_processors


def test_packages_and_their_memory_count_once(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0:0", "core")
    zone(tmp_path, "intel-rapl:0:1", "dram")
    zone(tmp_path, "intel-rapl:1", "package-1")
    zone(tmp_path, "intel-rapl:2", "psys")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    counters, reason = of_processors(tmp_path)

    assert [one.name for one in counters] == ["package-0", "package-0/dram", "package-1"]
    assert reason == ""


def test_joules_are_those_since_the_start(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 1_000_000)
    meter = Meter(of_processors(tmp_path)[0])
    meter.start()
    set_energy(first, 7_500_000)
    set_energy(second, 2_000_000)

    assert meter.update() == 3.5
    assert meter.update() == 3.5


def test_a_counter_that_begins_again_goes_on(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = Meter(of_processors(tmp_path)[0])
    meter.start()
    set_energy(path, 2_000_000)

    assert meter.update() == pytest.approx(3.0)
    assert meter.resets == 0


def test_a_counter_that_is_reset_is_told_and_not_guessed() -> None:
    said = iter([100.0, 3.0, 5.0])
    meter = Meter([Counter("gpu", lambda: next(said))])
    meter.start()

    assert [meter.update(), meter.update()] == [0.0, 2.0]
    assert meter.resets == 1


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert of_processors(tmp_path / "none") == (
        [],
        f"{tmp_path / 'none'} has no counter of a processor",
    )


@pytest.mark.parametrize("content", [None, "", "many"])
def test_a_counter_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0") / "energy_uj"
    path.unlink() if content is None else path.write_text(content)
    counters, reason = of_processors(tmp_path)

    assert counters == []
    assert str(path) in reason


def test_without_its_package_a_gpu_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert of_gpu(torch.device("cuda")) == ([], "the package nvidia-ml-py isn't installed")


class Nvml:
    """The functions of NVIDIA's library that are used, over one GPU."""

    class NVMLError(Exception):
        pass

    def __init__(self, *said: int) -> None:
        self.said = list(said)
        self.asked: list[str] = []

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, number: str) -> str:
        self.asked.append(number)
        return number

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if not self.said:
            raise self.NVMLError("Not Supported")
        return self.said.pop(0)


def gpu(monkeypatch: pytest.MonkeyPatch, *said: int) -> tuple[Nvml, Any]:
    nvml = Nvml(*said)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    properties = SimpleNamespace(uuid="12-34")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return nvml, of_gpu(torch.device("cuda", 0))


def test_a_gpu_counts_thousandths_of_a_joule(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml, (counters, reason) = gpu(monkeypatch, 1000, 5000, 7500)
    meter = Meter(counters)
    meter.start()

    assert (meter.update(), reason) == (2.5, "")
    assert nvml.asked == ["GPU-12-34"]


def test_a_gpu_that_does_not_count_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (counters, reason) = gpu(monkeypatch)

    assert (counters, reason) == ([], "NVIDIA's library has no figure: Not Supported")
