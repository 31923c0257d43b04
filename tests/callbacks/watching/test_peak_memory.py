from __future__ import annotations

import pytest
import torch

from trackside.callbacks.watching import peak_memory
from trackside.callbacks.watching.peak_memory import PeakMemory, host_peak_bytes
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import ScriptedRun, tiny_regression


def test_the_peak_of_the_process_is_recorded_once_per_epoch() -> None:
    task = tiny_regression()

    history = task.trainer(callbacks=[PeakMemory()]).fit(task.train, epochs=2).history

    first, second = history.values("memory/host_peak_bytes")
    assert 10_000_000 < first <= second <= host_peak_bytes()


@pytest.mark.cpu("torch's module of the device is a stand-in that has memory alone")
def test_a_device_is_asked_for_its_peak_and_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Module:
        def max_memory_allocated(self, device: object) -> int:
            return 100

        def max_memory_reserved(self, device: object) -> int:
            return 200

        def reset_peak_memory_stats(self, device: object) -> None:
            asked.append("reset")

    monkeypatch.setattr(torch, "get_device_module", lambda device: Module())
    run = ScriptedRun(PeakMemory())
    run.device = torch.device("cuda")

    run.play([{}])

    assert run.history.latest("memory/device_peak_bytes") == 100
    assert run.history.latest("memory/device_reserved_bytes") == 200
    assert asked == ["reset", "reset"]


def test_the_greatest_over_ranks_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "host_peak_bytes", lambda: 5)

    class OtherRankHasMore(Callback):
        runs_before = (PeakMemory,)

        def on_fit_start(self, run: Run) -> None:
            monkeypatch.setattr(
                run.world, "all_reduce", lambda x, op: {name: 9.0 for name in x if op == "max"}
            )

    run = ScriptedRun([OtherRankHasMore(), PeakMemory()])
    run.device = torch.device("cpu")

    run.play([{}])

    assert run.history.latest("memory/host_peak_bytes") == 9
