"""Reports to Ray Tune, with the package itself (`make trackers`) or a stand-in for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from trackside import Callback, Run, Trainer
from trackside.callbacks.reporting.ray_tune import RayTune
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.checkpoint.manifest import read_manifest
from trackside.errors import ConfigurationError
from trackside.outcome import Status
from trackside.testing import check_callback, script, tiny_classification
from trackside.trainer.settings import Settings


class Tune:
    """What Ray Tune gets, and says; it ends the trial at a report if told so."""

    def __init__(self) -> None:
        self.reports: list[tuple[dict[str, float], int | None]] = []
        self.trial: str | None = "trial"
        self.end_at = 0

    def report(self, metrics: dict[str, float], checkpoint: Any = None) -> None:
        step = None if checkpoint is None else read_manifest(Path(checkpoint))[0].step
        self.reports.append((metrics, step))
        if len(self.reports) == self.end_at:
            sys.exit(0)


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Tune:
    module: Any = ModuleType("ray.tune")
    told = Tune()
    module.report = told.report
    module.get_context = lambda: SimpleNamespace(get_trial_id=lambda: told.trial)
    module.Checkpoint = SimpleNamespace(from_directory=lambda path: path)
    module.get_checkpoint = lambda: None
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.tune", module)
    return told


LOSSES: list[dict[str, float]] = [{"val/loss": 0.5}, {"val/loss": 0.25}]


def test_each_value_of_the_first_metric_is_a_report_with_the_latest_of_the_others(
    tune: Tune,
) -> None:
    script(RayTune(["val/loss", "val/accuracy"]), [{"val/accuracy": 0.75}, *LOSSES])

    assert [metrics for metrics, _ in tune.reports] == [
        {"val/loss": 0.5, "val/accuracy": 0.75, "epoch": 2, "step": 8},
        {"val/loss": 0.25, "val/accuracy": 0.75, "epoch": 3, "step": 12},
    ]


def test_a_trial_that_tune_ends_is_stopped_in_order(tune: Tune) -> None:
    tune.end_at = 1
    run = script(RayTune(), LOSSES)

    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.step) == (Status.STOPPED, 4)
    assert run.outcome.reason == "stopped by Ray Tune at step 4"
    assert len(tune.reports) == 1


def fit(folder: Path, *callbacks: Any) -> Any:
    task = tiny_classification()
    trainer = Trainer(
        lambda: task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[*callbacks],
        settings=Settings(directory=folder),
        defaults=False,
    )
    return trainer.fit(task.train, task.validation, epochs=2)


class Deletes(Callback[Run]):
    """Deletes the first checkpoint of each step before others hear of it."""

    runs_before = ("ray_tune",)

    def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
        if checkpoint.name.count("-") == 1:
            shutil.rmtree(checkpoint, ignore_errors=True)


@pytest.mark.parametrize("background", [False, True])
def test_each_report_takes_along_the_checkpoint_of_its_step(
    tune: Tune, tmp_path: Path, background: bool
) -> None:
    saves = Checkpoint("100 epochs", at_end=False, background=background)
    fit(tmp_path, saves, RayTune(checkpoint=True))

    steps = [metrics["step"] for metrics, _ in tune.reports]
    assert len(steps) == 2
    assert [saved for _, saved in tune.reports] == steps


def test_a_checkpoint_that_is_deleted_already_leaves_the_report_to_the_next(
    tune: Tune, tmp_path: Path
) -> None:
    """As the one at the last record of a run: another at the same step takes its place."""
    fit(tmp_path, Deletes(), RayTune(checkpoint=True), Checkpoint("1 epoch", background=False))

    steps = [metrics["step"] for metrics, _ in tune.reports]
    assert [saved for _, saved in tune.reports] == steps
    assert len(steps) == 2


def test_checkpoints_that_nothing_saves_are_refused(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="add `Checkpoint"):
        fit(tmp_path, RayTune(checkpoint=True))


def test_outside_of_a_trial_it_is_refused(tune: Tune) -> None:
    tune.trial = None

    with pytest.raises(ConfigurationError, match="no trial of Ray Tune"):
        script(RayTune(), LOSSES)
    assert tune.reports == []


def test_without_a_metric_there_is_nothing_to_report(tune: Tune) -> None:
    with pytest.raises(ConfigurationError, match="nothing to report"):
        RayTune([])


def test_a_missing_package_is_told_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.tune", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'trackside\[tune\]'"):
        RayTune()


def test_it_keeps_the_contract_of_callbacks(tune: Tune) -> None:
    check_callback(RayTune, observer=False)


@pytest.mark.peers
@pytest.mark.timeout(600)  # Ray starts its cluster, and a process for each trial
def test_trials_of_ray_go_on_from_its_checkpoints_and_end_where_it_says(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[3]
    program = Path(__file__).with_name("on_ray_tune.py")
    variables = {"PYTHONPATH": str(repository / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )
    assert done.returncode == 0, done.stderr

    told = json.loads((tmp_path / "told.json").read_text())
    assert [one["error"] for one in told.values()] == [None] * 3
    assert told["fails"] == told["alone"], "bitwise, after a resume from Ray's copy"
    assert (told["alone"]["epoch"], told["ended"]["epoch"]) == (4, 2)
    assert "manifest.json" in told["ended"]["checkpoint"]
    resumed = json.loads((tmp_path / "fails" / "end.json").read_text())
    assert resumed == {"end": "completed at step 12: reached epochs=4", "resumed": True}
