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
from trackside.history import Record
from trackside.outcome import Outcome, Status
from trackside.run import Rollback
from trackside.testing import ScriptedRun, check_callback, script, tiny_classification
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


def test_a_trial_that_was_ended_leaves_the_next_fit_its_reports(tune: Tune) -> None:
    tune.end_at = 1
    callback = RayTune()
    for _ in range(2):
        script(callback, LOSSES)

    assert [metrics["step"] for metrics, _ in tune.reports] == [4, 4, 8]


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


class Stops(Callback[Run]):
    """Stops the run at the first value, before or after `RayTune` hears of that."""

    def __init__(self, *, first: bool) -> None:
        self.runs_before, self.runs_after = (("ray_tune",), ()) if first else ((), ("ray_tune",))

    def on_log(self, run: Run, record: Record) -> None:
        if "val/loss" in record.values:
            run.stop("it is good enough")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_run_that_stops_by_itself_reports_its_last_value(
    tune: Tune, tmp_path: Path, checkpoint: bool, first: bool
) -> None:
    reports, stops = RayTune(checkpoint=checkpoint), Stops(first=first)
    result = fit(tmp_path, Checkpoint("1 epoch"), reports, stops)

    step = result.outcome.step
    assert result.outcome.status is Status.STOPPED
    assert [(metrics["step"], saved) for metrics, saved in tune.reports] == [
        (step, step if checkpoint else None)
    ]


def with_values_that_wait(*steps: int) -> tuple[RayTune, ScriptedRun]:
    """A callback in a run that has recorded values whose checkpoints aren't written yet."""
    callback = RayTune(checkpoint=True)
    run = ScriptedRun(callback)
    callback.on_attach(run)
    for step in steps:
        callback.on_log(run, Record(step=step, epoch=1, values=LOSSES[0], samples=0, seconds=0.0))
    return callback, run


@pytest.mark.parametrize("status", list(Status))
def test_what_waits_is_reported_without_its_checkpoint_unless_the_run_failed(
    tune: Tune, status: Status
) -> None:
    callback, run = with_values_that_wait(4)
    callback.on_close(run, Outcome(status, "for a test", step=4))

    steps = [metrics["step"] for metrics, _ in tune.reports]
    assert steps == ([] if status is Status.FAILED else [4])


def test_what_waits_is_not_reported_to_a_trial_that_is_over(tune: Tune) -> None:
    tune.end_at = 1
    callback, run = with_values_that_wait(4, 8)
    callback.on_close(run, Outcome(Status.STOPPED, "for a test", step=8))

    assert [metrics["step"] for metrics, _ in tune.reports] == [4]


class GoesBack(Callback[Run]):
    """Returns once to the newest checkpoint, at the second value."""

    runs_after = ("ray_tune",)

    def on_log(self, run: Run, record: Record) -> None:
        if "val/loss" in record.values and record.epoch == 2 and not run.rollbacks:
            run.roll_back("for a test")


def test_a_value_that_is_taken_back_before_its_checkpoint_is_reported_once(
    tune: Tune, tmp_path: Path
) -> None:
    saves = Checkpoint("100 epochs", at_end=False, background=False)
    fit(tmp_path, saves, RayTune(checkpoint=True), GoesBack())

    assert [metrics["epoch"] for metrics, _ in tune.reports] == [1, 2]
    assert [saved for _, saved in tune.reports] == [metrics["step"] for metrics, _ in tune.reports]


def test_a_rollback_keeps_what_waits_for_an_earlier_checkpoint(tune: Tune) -> None:
    callback, run = with_values_that_wait(4, 8)
    callback.on_roll_back(run, Rollback(8, 4, "it diverged", "a test"))
    callback.on_close(run, Outcome(Status.COMPLETED, "for a test", step=8))

    assert [metrics["step"] for metrics, _ in tune.reports] == [4]


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
