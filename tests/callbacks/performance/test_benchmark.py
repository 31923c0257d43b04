"""Benchmark takes the time of each phase."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trackside import Callback, Settings
from trackside.callbacks.performance import stopwatch
from trackside.callbacks.performance.benchmark import Benchmark
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression


class Clock:
    """Moves by a fixed amount in each phase, as if the phase took that long."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(Callback):
    """Takes time on the clock: 1 forward, 2 backward, 4 update."""

    runs_after = (Benchmark,)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.clock.now += 1

    def on_backward_start(self, run: Run, loss: Any) -> None:
        self.clock.now += 2

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        self.clock.now += 4


def fit(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    clock, task = Clock(), tiny_regression()
    monkeypatch.setattr(stopwatch, "perf_counter", clock)
    settings = Settings(directory="run")
    trainer = task.trainer(callbacks=[benchmark, Slow(clock)], settings=settings, **options)
    return trainer.fit(task.train, epochs=4)


@pytest.mark.cpu("the clock that the test moves is the host's")
def test_each_phase_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = Benchmark(steps=4, skip=2)
    history = fit(benchmark, monkeypatch).history

    medians = {phase: found["median"] for phase, found in benchmark.results.items()}
    assert medians.pop("data") > 0
    assert medians == {"forward": 1.0, "backward": 2.0, "optimizer": 4.0, "step": 7.0}
    assert history.latest("benchmark/backward_seconds") == 2.0


@pytest.mark.cpu("the clock that the test moves is the host's")
def test_batches_of_a_step_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = Benchmark(steps=1, skip=0)
    fit(benchmark, monkeypatch, accumulate=2)

    assert benchmark.results["forward"]["median"] == 2.0
    assert benchmark.results["optimizer"]["median"] == 4.0


@pytest.mark.cpu("the clock that the test moves is the host's")
def test_the_file_says_how_much_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    fit(Benchmark(steps=3, skip=0), monkeypatch)
    report = json.loads(Path("run/benchmark.json").read_text())

    assert report["steps"] == 3
    assert report["samples_per_step"] == pytest.approx(10 / 3)
    assert report["seconds"]["step"]["p90"] == 7.0


def test_a_run_of_fewer_steps_is_summed_up_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = Benchmark(steps=1000, skip=1)
    fit(benchmark, monkeypatch)

    assert json.loads(Path("run/benchmark.json").read_text())["steps"] == 11


def test_weights_are_left_as_they_are() -> None:
    def weights(*callbacks: Callback) -> torch.Tensor:
        task = tiny_regression()
        task.trainer(callbacks=callbacks).fit(task.train, epochs=2)
        return task.weights

    assert torch.equal(weights(Benchmark(steps=2, skip=0)), weights())


@pytest.mark.parametrize("options", [{"steps": 0}, {"skip": -1}], ids=str)
def test_what_is_no_number_of_steps_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Benchmark(**options)
