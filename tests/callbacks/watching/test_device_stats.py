from __future__ import annotations

import sys

import pytest

from trackside.callbacks.watching.device_stats import DeviceStats
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression


def test_the_machine_is_recorded_with_each_record() -> None:
    task = tiny_regression()

    history = task.trainer(callbacks=[DeviceStats()]).fit(task.train, epochs=2).history

    assert len(history.values("device/cpu_percent")) == 2
    assert 0 < (history.latest("device/host_memory_percent") or 0) <= 100
    assert (history.latest("device/process_memory_bytes") or 0) > 10_000_000


def test_a_missing_package_is_told_when_the_callback_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'trackside\[watching\]'"):
        DeviceStats()
