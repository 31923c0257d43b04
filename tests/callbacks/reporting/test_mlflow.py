from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trackside.callbacks.reporting.mlflow import MLflow
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import ScriptedRun, script
from trackside.tracking.media import Audio, File, Media, Picture, Table, Text, Video
from trackside.tracking.tracker import TrackedRun

# The package and its database layer warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


class Resume(Callback):
    """Loads the state that a checkpoint would have held."""

    def __init__(self, tracker: MLflow, state: dict[str, Any]) -> None:
        self.tracker, self.state = tracker, state

    def on_setup_start(self, run: Run) -> None:
        self.tracker.load_state_dict(self.state)


def test_the_real_store_holds_a_run_over_its_resume(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri, artifacts = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts")
    first, second = (
        MLflow("digits", name="first", tracking_uri=uri, artifacts=artifacts) for _ in range(2)
    )
    picture = Picture(np.zeros((1, 1, 3), dtype=np.uint8), tmp_path / "shown.png")
    (tmp_path / "shown.png").write_bytes(b"png")
    run = ScriptedRun(first)
    run.config = {"seed": 7, "data": {"batch_size": 32}}

    def train(run: ScriptedRun) -> None:
        run.tell_epoch({"val/loss": 0.25})
        run.emit(Media.on_picture, "val/shown", picture)

    run.play([{"val/loss": 0.5}])
    script(
        [second, Resume(second, first.state_dict())],
        train,
    )

    client = MlflowClient(uri)
    assert first.run_id is not None
    kept = client.get_run(first.run_id)
    assert [p.value for p in client.get_metric_history(first.run_id, "val/loss")] == [0.5, 0.25]
    assert kept.data.params == {"seed": "7", "data/batch_size": "32"}
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "first")
    assert kept.data.tags["outcome"].startswith("completed at step 4")
    assert (tmp_path / "artifacts" / first.run_id / "artifacts/pictures/val/shown").is_dir()


class FakeClient:
    """What was said to it."""

    def __init__(self, uri: str | None) -> None:
        self.metrics: list[Any] = []
        self.params: list[Any] = []
        self.status = ""
        self.tags: dict[str, str] = {}

    def search_runs(self, experiments: list[str], wanted: str, max_results: int) -> list[Any]:
        known = "tags.`trackside.run` = 'mine'"
        return [SimpleNamespace(info=SimpleNamespace(run_id="old"))] * (wanted == known)

    def update_run(self, run_id: str, status: str) -> None:
        self.status = f"{run_id} {status}"

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return [SimpleNamespace(step=step) for step in (11, 12)] if name == "loss" else []

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="1")

    def create_run(self, experiment: str, run_name: str, tags: Any = None) -> Any:
        self.tags = tags
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def log_batch(
        self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()
    ) -> None:
        assert len(params) <= 100
        self.metrics += metrics
        self.params += params

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        pass

    def set_terminated(self, run_id: str, status: str) -> None:
        self.status = status


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    """Clients that were made, with the real one replaced."""
    import mlflow

    made: list[FakeClient] = []

    def make(uri: str | None) -> FakeClient:
        made.append(FakeClient(uri))
        return made[-1]

    monkeypatch.setattr(mlflow, "MlflowClient", make)
    return made


def test_each_value_is_sent_with_its_step(clients: list[FakeClient]) -> None:
    script(MLflow(), [{"val/loss": 0.5}])

    found = [(m.key, m.value, m.step) for m in clients[0].metrics]
    assert ("val/loss", 0.5, 4) in found
    assert ("epoch", 1.0, 4) in found


def test_more_parameters_than_it_takes_at_once_are_sent_in_parts(
    clients: list[FakeClient],
) -> None:
    run = ScriptedRun(MLflow())
    run.config = {f"key{number}": "x" * 9999 for number in range(250)}

    run.play([])

    assert len(clients[0].params) == 250
    assert max(len(param.value) for param in clients[0].params) == 500


def test_a_failed_run_is_marked_so(clients: list[FakeClient]) -> None:
    def story(run: ScriptedRun) -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        script(MLflow(), story)

    assert clients[0].status == "FAILED"


def test_an_infinite_value_is_left_out_and_that_is_said_once(
    clients: list[FakeClient], caplog: pytest.LogCaptureFixture
) -> None:
    infinite = {"val/loss": float("inf"), "val/top": 0.5}
    with caplog.at_level(logging.WARNING):
        script(MLflow(), [infinite, infinite, {"val/loss": 0.25}])

    assert [m.value for m in clients[0].metrics if m.key == "val/loss"] == [0.25]
    assert [m.value for m in clients[0].metrics if m.key == "val/top"] == [0.5, 0.5]
    assert caplog.text.count("take no infinite values") == 1


def test_a_rehearsal_has_a_store_of_its_own() -> None:
    tracker = MLflow(tracking_uri="http://tracker.example")

    assert tracker.rehearse_in(Path("rehearsal"))
    assert tracker.tracking_uri == "sqlite:///rehearsal/mlflow.db"
    assert tracker.artifacts == "rehearsal"


def test_other_media_and_files_are_kept_among_the_artifacts(tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_bytes(b"zip")
    tracker = MLflow("media", tracking_uri=f"sqlite:///{tmp_path}/m.db", artifacts=str(tmp_path))

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.emit(Media.on_text, "text", Text("hello"))
        run.emit(Media.on_picture, "val/shown", Picture(np.zeros((2, 2, 3), np.uint8)))
        run.emit(Media.on_table, "table", Table(("a",), ((1,),)))
        run.emit(Media.on_audio, "sound", Audio(np.zeros(8, np.float32), rate=4))
        run.emit(Media.on_video, "film", Video(np.zeros((2, 4, 4, 3), np.uint8)))
        run.emit(Media.on_file, "code", File(tmp_path / "code.zip", "code"))

    script(tracker, story)

    place = tmp_path / str(tracker.run_id) / "artifacts"
    step = "step-0000000001"
    assert {file.relative_to(place).as_posix() for file in place.rglob("*.*")} == {
        f"texts/text/{step}.md",
        f"pictures/val/shown/{step}.png",
        f"tables/table/{step}.csv",
        f"sounds/sound/{step}.wav",
        f"films/film/{step}.gif",
        "code/code.zip",
    }


def beginning(run_id: str, step: int) -> TrackedRun:
    return TrackedRun("name", Path("folder"), {}, step, run_id)


def test_a_resumed_run_without_an_id_is_found_by_its_tag(clients: list[FakeClient]) -> None:
    tracker = MLflow()
    tracker.open(beginning("mine", 10))

    assert (tracker.run_id, tracker.goes_on) == ("old", True)
    assert clients[0].status == "old RUNNING"


@pytest.mark.parametrize(("run_id", "step"), [("mine", 0), ("other", 10)])
def test_another_run_is_made_with_its_tag(
    run_id: str, step: int, clients: list[FakeClient]
) -> None:
    tracker = MLflow()
    tracker.open(beginning(run_id, step))

    assert (tracker.run_id, tracker.goes_on) == ("abc", False)
    assert clients[0].tags == {"trackside.run": run_id}


def test_the_store_knows_which_values_were_sent(clients: list[FakeClient]) -> None:
    tracker = MLflow()
    tracker.open(beginning("mine", 10))

    sent = [(name, step) for name in ("loss", "lr") for step in (11, 13)]
    assert [tracker.was_sent(*point) for point in sent] == [True, False, False, False]
