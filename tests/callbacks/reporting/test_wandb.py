from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackside.callbacks.reporting.wandb import WandB
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import ScriptedRun, script
from trackside.tracking.media import (
    Audio,
    File,
    Histogram,
    Media,
    Picture,
    Table,
    Text,
    Video,
)
from trackside.tracking.tracker import TrackedRun

pytestmark = pytest.mark.filterwarnings("ignore")


class FakeRun:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.rows: list[dict[str, Any]] = []
        self.axes: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.exit_code: int | None = None

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes[name] = step_metric

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """Runs that were started, with the real package's way in replaced."""
    import wandb

    started: list[FakeRun] = []

    def init(**arguments: Any) -> FakeRun:
        started.append(FakeRun(arguments))
        return started[-1]

    monkeypatch.setattr(wandb, "init", init)
    return started


def test_records_are_sent_with_all_axes(runs: list[FakeRun]) -> None:
    run = script(WandB("digits"), [{"val/loss": 0.5}])

    assert runs[0].rows == run.history.rows()
    assert runs[0].axes == {"step": None, "*": "step"}


def test_the_outcome_is_sent(runs: list[FakeRun]) -> None:
    def story(run: ScriptedRun) -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        script(WandB(), story)

    assert runs[0].exit_code == 1


def test_a_resumed_run_goes_on_under_the_same_id(runs: list[FakeRun]) -> None:
    first, second = WandB(), WandB()
    script(first, [{}])
    state = first.state_dict()

    class Resume(Callback):
        def on_setup_start(self, run: Run) -> None:
            second.load_state_dict(state)

    script([second, Resume()], [{}])

    assert runs[0].arguments["id"] == runs[1].arguments["id"] == state["run_id"]


def test_a_second_fit_is_another_run(runs: list[FakeRun]) -> None:
    tracker = WandB()
    script(tracker, [{}])
    script(tracker, [{}])

    assert runs[0].arguments["id"] != runs[1].arguments["id"]


def test_pictures_and_histograms_are_sent_in_its_own_forms(runs: list[FakeRun]) -> None:
    import wandb

    def story(run: ScriptedRun) -> None:
        run.emit(Media.on_picture, "a", Picture(np.zeros((2, 2, 3), dtype=np.uint8)))
        run.emit(Media.on_histogram, "b", Histogram(np.array([1]), np.array([0.0, 1.0])))

    script(WandB(), story)

    assert isinstance(runs[0].rows[0]["a"], wandb.Image)
    assert isinstance(runs[0].rows[1]["b"], wandb.Histogram)


def test_further_options_are_passed_on(runs: list[FakeRun]) -> None:
    script(WandB(tags=["a"], options={"notes": "n"}), [{}])

    assert runs[0].arguments["tags"] == ["a"]
    assert runs[0].arguments["notes"] == "n"


@pytest.mark.parametrize("given", [None, {"x_stats_sampling_interval": 7.0}, "settings"])
def test_a_command_line_with_a_secret_is_not_told(
    given: Any, runs: list[FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("SERVICE_TOKEN", "hunter2-and-more")
    monkeypatch.setattr("sys.argv", ["train.py", "--key=hunter2-and-more"])
    if given == "settings":
        given = wandb.Settings(x_stats_sampling_interval=7.0)

    script(WandB(options={"settings": given}), [{}])

    settings = runs[0].arguments["settings"]
    assert settings.x_disable_meta
    assert settings.x_stats_sampling_interval == (15.0 if given is None else 7.0)


def test_a_command_line_without_one_is_left_to_the_package(runs: list[FakeRun]) -> None:
    script(WandB(), [{}])

    assert "settings" not in runs[0].arguments


def test_a_service_that_fails_is_a_warning_and_costs_no_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import wandb

    from trackside.tracking import background as delivery

    def fail(**arguments: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(wandb, "init", fail)
    monkeypatch.setattr(delivery.BackgroundQueue, "_wait", lambda self, seconds: None)

    run = script(WandB(), [{}] * 2)

    assert run.progress.epochs_completed == 2
    assert run.callbacks.failures()["wand_b"] >= 1


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    yield
    assert "WANDB_SERVICE" not in os.environ or os.environ["WANDB_SERVICE"]


def test_the_real_package_writes_offline(tmp_path: Path, quiet: None) -> None:
    import wandb

    tracker = WandB("digits", mode="offline")

    run = script(tracker, [{"val/loss": 0.5}], directory=tmp_path)
    wandb.teardown()

    assert run.callbacks.failures() == {}
    [file] = tmp_path.glob(f"wandb/offline-run-*-{tracker.run_id}/run-{tracker.run_id}.wandb")
    assert b"val/loss" in file.read_bytes()
    assert json.dumps(tracker.state_dict())


def test_a_rehearsal_tells_nobody() -> None:
    tracker = WandB("digits", mode="online")

    assert tracker.rehearse_in(Path("rehearsal"))
    assert tracker._options["mode"] == "disabled"


def test_other_media_and_files_are_sent_as_its_own(runs: list[FakeRun], tmp_path: Path) -> None:
    import wandb

    (tmp_path / "code.zip").write_bytes(b"zip")

    def story(run: ScriptedRun) -> None:
        run.emit(Media.on_text, "text", Text("hello"))
        run.emit(Media.on_table, "table", Table(("a",), ((1,),)))
        run.emit(Media.on_audio, "sound", Audio(np.zeros(8, np.float32), rate=4))
        run.emit(Media.on_video, "film", Video(np.zeros((2, 4, 4, 3), np.uint8)))
        run.emit(Media.on_file, "code", File(tmp_path / "code.zip", "code"))

    script(WandB(), story)

    kinds = {name: type(value) for row in runs[0].rows for name, value in row.items()}
    assert {name: kinds[name] for name in ("text", "table", "sound", "film")} == {
        "text": wandb.Html,
        "table": wandb.Table,
        "sound": wandb.Audio,
        "film": wandb.Video,
    }
    [artifact] = runs[0].artifacts
    assert (artifact.type, list(artifact.manifest.entries)) == ("code", ["code.zip"])


def test_rows_that_were_given_before_a_kill_are_known(runs: list[FakeRun], tmp_path: Path) -> None:
    first, second = WandB(), WandB()
    first.run_id = second.run_id = "mine"
    first.open(TrackedRun("name", tmp_path, {}, 0))
    for step, name in ((1, "a"), (2, "a"), (2, "b")):
        first.write_metrics({name: 1.0}, Record({name: 1.0}, step, 0, 0, 0.0), 0.0)
    second.open(TrackedRun("name", tmp_path, {}, 1))

    sent = [(name, step) for name in ("a", "b", "c") for step in (1, 2, 3)]
    known = {point for point in sent if second.was_sent(*point)}
    assert known == {("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2)}


@pytest.mark.parametrize("text", [None, "", "[1", "{}"])
def test_without_a_note_all_rows_are_sent(
    text: str | None, runs: list[FakeRun], tmp_path: Path
) -> None:
    tracker = WandB()
    tracker.run_id = "mine"
    if text is not None:
        (tmp_path / "wandb").mkdir()
        (tmp_path / "wandb" / "sent-mine.json").write_text(text)
    tracker.open(TrackedRun("name", tmp_path, {}, 1))

    assert not tracker.was_sent("a", 1)
