"""The clock of steps on a device is read when the device has done its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from benchmarks import accelerator, step

Turn = Callable[[], float]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Waits for the device and looks at the clock, in their order; runs have ten steps."""
    told: list[str] = []

    def clock() -> float:
        told.append("clock")
        return 0.0

    monkeypatch.setattr(accelerator, "synchronize", lambda: told.append("wait"))
    monkeypatch.setattr(step, "perf_counter", clock)
    monkeypatch.setattr(accelerator, "STEPS", 10)
    return told


def turns(monkeypatch: pytest.MonkeyPatch) -> list[Turn]:
    """What is timed on an accelerator: each variant, and the raw loop."""
    found: list[Turn] = []

    def take(variants: Mapping[str, Turn], plain: Turn, **_: Any) -> list[Any]:
        found.extend([*variants.values(), plain])
        return []

    monkeypatch.setattr(accelerator, "ratios", take)
    accelerator.steps()
    return found


def test_the_device_is_done_whenever_the_clock_is_read(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in turns(monkeypatch):
        told.clear()
        turn()
        assert told == ["wait", "clock", "wait", "clock"]
