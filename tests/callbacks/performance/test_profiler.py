"""Profiler writes a trace and a table of some steps."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity

from trackside import Callback, Settings
from trackside.callbacks.performance.profiler import Profiler, device_activity
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression

FOLDER = Path("run/profile")


def fit(*callbacks: Callback, steps: int = 9) -> tuple[Any, torch.Tensor]:
    task = tiny_regression()
    trainer = task.trainer(callbacks=callbacks, settings=Settings(directory="run"))
    return trainer.fit(task.train, steps=steps), task.weights


def test_the_steps_that_are_due_are_in_a_trace_and_a_table() -> None:
    fit(Profiler(skip=2, warmup=1, active=3, rows=100))

    assert [file.name for file in sorted(FOLDER.iterdir())] == [
        "step-0000000006-rank-0.json",
        "step-0000000006-rank-0.txt",
    ]
    events = json.loads((FOLDER / "step-0000000006-rank-0.json").read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert sum(name == "Optimizer.step#SGD.step" for name in names) == 3
    assert "aten::addmm" in (FOLDER / "step-0000000006-rank-0.txt").read_text()


def test_it_can_record_several_times() -> None:
    fit(Profiler(skip=0, warmup=1, active=1, repeat=2))

    assert [file.name for file in sorted(FOLDER.glob("*.json"))] == [
        "step-0000000002-rank-0.json",
        "step-0000000004-rank-0.json",
    ]


def test_weights_are_left_as_they_are() -> None:
    assert torch.equal(fit(Profiler(skip=0, warmup=0, active=2))[1], fit()[1])


def test_an_error_while_it_records_leaves_no_profiler_running() -> None:
    class Breaking(Callback):
        def on_step_end(self, run: Run) -> None:
            raise ValueError("broken")

    profiler = Profiler(skip=0, warmup=0, active=5)
    with pytest.raises(ValueError, match="broken"):
        fit(profiler, Breaking())

    assert not torch._C._autograd._profiler_enabled()
    fit(Profiler(skip=0, warmup=0, active=1))
    assert (FOLDER / "step-0000000001-rank-0.json").exists()


@pytest.mark.cpu("where there is a GPU, there are snapshots of its memory")
def test_where_there_is_no_memory_snapshot_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="trackside"):
        fit(Profiler(memory_snapshot=True), steps=1)

    assert "no memory snapshot on cpu" in caplog.text


@pytest.mark.parametrize("options", [{"active": 0}, {"wait": -1}, {"rows": 1.5}], ids=str)
def test_what_is_no_number_of_steps_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Profiler(**options)


@pytest.mark.parametrize(("kind", "name"), [("cuda", "CUDA"), ("xpu", "XPU"), ("cpu", None)])
def test_the_work_of_the_device_is_recorded_where_torch_can(kind: str, name: str | None) -> None:
    activity = device_activity(torch.device(kind))
    assert activity == (None if name is None else getattr(ProfilerActivity, name))
