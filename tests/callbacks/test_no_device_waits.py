"""Callbacks that act in every step never ask for a value: that would make the device wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trackside import Callback, Settings
from trackside.callbacks import (
    EMA,
    SWA,
    AccumulationSchedule,
    ActivationStatistics,
    Benchmark,
    ClipGradients,
    GradientNoise,
    GradientNorm,
    LRScheduler,
    ParameterNorm,
    ParameterSchedule,
    Unfreeze,
)
from trackside.run import Run
from trackside.testing import tiny_classification


class Waits(TorchDispatchMode):
    """Counts how often a value of a tensor is brought to the host."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Watching(Callback):
    """Counts within steps; records and evaluations may wait."""

    def __init__(self) -> None:
        self.waits = Waits()

    @contextmanager
    def step_context(self, run: Run) -> Iterator[None]:
        with self.waits:
            yield


CALLBACKS = {
    "ema": lambda: EMA([0.9, 0.99]),
    "swa": lambda: SWA("1 step", every="1 step"),
    "clip norm": lambda: ClipGradients(norm=0.1),
    "clip value": lambda: ClipGradients(value=0.1),
    "gradient norm": lambda: GradientNorm("1 step", patterns=["0.*"]),
    "parameter norm": lambda: ParameterNorm("1 step", patterns=["0.*"]),
    "gradient noise": GradientNoise,
    "activation statistics": lambda: ActivationStatistics(every="1 step"),
    "scheduler": lambda: LRScheduler("step", {"step_size": 1}, interval="step"),
    "parameter schedule": lambda: ParameterSchedule("model.3.p", "linear", 0.5, 0.0),
    "unfreeze": lambda: Unfreeze({"0": "2 steps"}),
    "accumulation": lambda: AccumulationSchedule({0: 2, 2: 1}, unit="steps"),
    "benchmark": lambda: Benchmark(steps=100, skip=0),
}


def waits(*callbacks: Callback) -> int:
    task, watching = tiny_classification(samples=32), Watching()
    trainer = task.trainer(
        callbacks=[watching, *callbacks],
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        accumulate=2,
        settings=Settings(log_every="100 steps", directory="run"),
    )
    trainer.fit(task.train, epochs=2)
    return watching.waits.count


@pytest.mark.parametrize("make", CALLBACKS.values(), ids=CALLBACKS)
def test_a_step_waits_for_nothing(make: Any) -> None:
    assert waits(make()) == 0


def test_a_callback_that_waits_is_found() -> None:
    class Waiting(Callback):
        def on_step_end(self, run: Run) -> None:
            next(run.model.parameters()).sum().item()

    assert waits(Waiting()) == 4
