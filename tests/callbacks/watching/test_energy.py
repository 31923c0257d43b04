from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.watching.zones import set_energy, zone
from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.watching import energy, energy_counters
from trackside.callbacks.watching.energy import Energy
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.trainer.settings import Result


class Takes(Callback):
    """Each step takes four joules and two seconds."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.steps = 0
        monkeypatch.setattr(energy, "perf_counter", lambda: 2.0 * self.steps)

    def on_backward_end(self, run: Run, loss: Any) -> None:
        self.steps += 1
        set_energy(self.path, 4_000_000 * self.steps)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy_counters, "POWERCAP", tmp_path / "powercap")
    return zone(tmp_path / "powercap", "intel-rapl:0", "package-0")


def fit(*callbacks: Callback[Any], steps: int = 6, **options: Any) -> Result:
    task = tiny_regression()
    settings = Settings(device="cpu", directory="run", log_every="2 steps")
    trainer = task.trainer(callbacks=callbacks, settings=settings)
    return trainer.fit(task.train, steps=steps, **options)


def test_joules_grow_and_watts_are_those_since_the_last_record(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = fit(Energy(), Takes(package, monkeypatch)).history
    joules = dict(history.points("energy/cpu_joules"))

    assert {step: joules[step] for step in (2, 4, 6)} == {2: 8.0, 4: 16.0, 6: 24.0}
    assert set(history.values("energy/cpu_watts")) == {2.0}


def test_a_resumed_run_goes_on_counting(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(Energy(), Checkpoint("2 steps"), Takes(package, monkeypatch), steps=4)
    set_energy(package, 0)
    history = fit(
        Energy(), Checkpoint("2 steps"), Takes(package, monkeypatch), resume="auto"
    ).history

    assert history.points("energy/cpu_joules")[-1] == (6, 24.0)


def test_a_save_between_two_records_holds_the_joules_of_its_step(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Energy()
    held: list[dict[str, Any]] = []

    class Saves(Callback):
        def on_step_end(self, run: Run) -> None:
            held.append(watch.state_dict())

    fit(watch, Takes(package, monkeypatch), Saves(), steps=3)
    assert held == [{"cpu": 4.0}, {"cpu": 8.0}, {"cpu": 12.0}]


def test_a_counter_that_cannot_be_read_does_no_harm_to_a_save(package: Path) -> None:
    set_energy(package, 0)
    meter = energy_counters.Meter(energy_counters.of_processors()[0])
    watch = Energy()
    watch._begin({"cpu": meter})
    assert watch.state_dict() == {"cpu": 0.0}, "it hasn't begun"
    watch.on_fit_start(Run("fit"))
    set_energy(package, 5_000_000)
    assert watch.state_dict() == {"cpu": 5.0}

    (package / "energy_uj").unlink()
    assert watch.state_dict() == {"cpu": 5.0}


def test_a_machine_that_does_not_say_is_named_once_and_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(energy_counters, "POWERCAP", tmp_path / "none")
    history = fit(Energy()).history

    assert caplog.text.count("the energy of the CPU isn't known, and none is recorded") == 1
    assert history.values("energy/cpu_joules") == []


def test_counters_are_read_between_records_too(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    watch = Energy()
    run = Run("fit")
    watch._begin({"cpu": energy_counters.Meter([])})
    times = iter([10.0, 59.0, 60.0, 100.0, 121.0])
    monkeypatch.setattr(energy, "perf_counter", lambda: next(times))
    monkeypatch.setattr(
        energy_counters.Meter, "update", lambda self: looks.append(watch._looked_at)
    )
    for _ in range(5):
        watch.on_step_end(run)

    assert looks == [60.0, 121.0]
