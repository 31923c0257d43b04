"""Trackio's store, with the package itself (`make trackers`) or a stand-in for it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from tests.tracking.killed_runs import killed_and_gone_on, points
from trackside.callbacks.reporting.trackio import Trackio
from trackside.errors import ConfigurationError
from trackside.testing import ScriptedRun, check_callback, script
from trackside.tracking import background
from trackside.tracking.media import Audio, File, Histogram, Media, Picture, Table, Text, Video

OWN_COLUMNS = {"timestamp", "step", "samples", "seconds", "epoch", "outcome"}


class Store:
    """Rows and settings, as Trackio's store takes them; it can fail for a while."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.settings: list[dict[str, Any]] = []
        self.failures = 0

    def validate_project_name(self, project: str) -> None:
        pass

    def get_logs(self, project: str, run_id: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["run_id"] == run_id]

    def get_run_config(self, project: str, run_id: str) -> dict[str, Any] | None:
        return self.settings[-1] if self.settings else None

    def bulk_log(self, **given: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("database is locked")
        [row], [step] = given["metrics_list"], given["steps"]
        self.rows.append({**row, "step": step, "run_id": given["run_id"]})
        if given["config"]:
            self.settings.append(given["config"])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    module: Any = ModuleType("trackio")
    module.SQLiteStorage = Store()
    module.TRACKIO_DIR = "shared"
    module.utils = SimpleNamespace(get_storage_mode=lambda: "sqlite", to_json_safe=dict)
    module.Markdown = lambda text: SimpleNamespace(_to_dict=lambda: {"_value": text})
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.setattr(background.BackgroundQueue, "_wait", lambda self, seconds: None)
    found: Store = module.SQLiteStorage
    return found


def test_a_name_of_its_own_columns_costs_that_value_only(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        script(Trackio(), lambda run: run.record({"val/loss": 0.5, "time": 1.0}))

    kept = {name for row in store.rows for name in row}
    assert "val/loss" in kept
    assert "time" not in kept
    assert "Trackio refuses the metric 'time'" in caplog.text


def test_a_row_that_failed_for_a_moment_is_delivered_once(store: Store) -> None:
    store.failures = 3

    run = script(Trackio(), [{"val/loss": 0.5}])

    assert [row["val/loss"] for row in store.rows if "val/loss" in row] == [0.5]
    assert run.callbacks.failures() == {}


def test_the_configuration_comes_with_the_first_row_and_only_once(store: Store) -> None:
    run = ScriptedRun(Trackio(group="tries"))
    run.config = {"data": {"batch_size": 32}}

    run.play([{"val/loss": 0.5}, {"val/loss": 0.4}])

    [settings] = store.settings
    assert (settings["data/batch_size"], settings["_Group"]) == (32, "tries")


def test_a_store_that_is_no_database_is_refused_with_what_to_set(store: Store) -> None:
    sys.modules["trackio"].utils.get_storage_mode = lambda: "jsonl"
    tracker = Trackio()

    with pytest.raises(ConfigurationError, match="TRACKIO_STORAGE_MODE=sqlite"):
        tracker.open(SimpleNamespace(name="a", id="b", step=0))  # type: ignore[arg-type]


# --- with the package -----------------------------------------------------------------------


@pytest.fixture
def project() -> str:
    """A project of its own, in a store that the environment names."""
    if "TRACKIO_DIR" not in os.environ:
        pytest.skip("set TRACKIO_DIR to a folder, as `make trackers` does")
    pytest.importorskip("trackio")
    return f"project-{uuid4().hex}"


def logs(project: str, run_id: str | None) -> list[dict[str, Any]]:
    import trackio

    rows: list[dict[str, Any]] = trackio.SQLiteStorage.get_logs(project, run_id=run_id)
    return rows


def only_run(project: str) -> str:
    import trackio

    [record] = trackio.SQLiteStorage.get_run_records(project)
    run_id: str = record["id"]
    return run_id


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("delivered", [True, False])
def test_a_killed_run_goes_on_in_the_same_run_without_rows_twice(
    project: str, tmp_path: Path, delivered: bool
) -> None:
    history = killed_and_gone_on(Trackio, {"project": project}, tmp_path, delivered=delivered)

    rows = logs(project, only_run(project))
    found = [(name, row["step"]) for row in rows for name in row.keys() - OWN_COLUMNS]
    texts = [("notes", 3), ("notes", 6)]
    assert sorted(found) == sorted([*points(history), *texts])
    assert str(rows[-1]["outcome"]["_value"]).startswith("completed at step 9")


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
def test_media_and_files_are_in_its_own_forms(project: str, tmp_path: Path) -> None:
    import trackio

    (tmp_path / "best.safetensors").write_bytes(b"weights")

    def story(run: ScriptedRun) -> None:
        run.emit(Media.on_picture, "picture", Picture(np.zeros((4, 4, 3), np.uint8)))
        run.emit(Media.on_histogram, "histogram", Histogram(np.array([1]), np.array([0.0, 1.0])))
        run.emit(Media.on_text, "text", Text("hello"))
        run.emit(Media.on_table, "table", Table(("a",), ((1,),)))
        run.emit(Media.on_audio, "sound", Audio(np.zeros(8, np.float32), rate=4))
        run.emit(Media.on_video, "film", Video(np.zeros((2, 4, 4, 3), np.uint8)))
        run.emit(Media.on_file, "best/weights", File(tmp_path / "best.safetensors", "model"))

    run = script(Trackio(project), story, directory=tmp_path)

    assert run.callbacks.failures() == {}
    kinds = {
        name: value["_type"].partition(".")[2]
        for row in logs(project, only_run(project))
        for name, value in row.items()
        if isinstance(value, dict) and name != "outcome"
    }
    assert kinds == {
        "picture": "image",
        "histogram": "histogram",
        "text": "markdown",
        "table": "table",
        "sound": "audio",
        "film": "video",
    }
    [artifact] = trackio.SQLiteStorage.get_artifacts(project)
    assert (artifact["name"], artifact["type"]) == ("best-weights", "model")


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
def test_values_that_are_not_finite_and_the_configuration_are_kept(
    project: str, tmp_path: Path
) -> None:
    import trackio

    run = ScriptedRun(Trackio(project, name="first"), directory=tmp_path)
    run.config = {"data": {"path": Path("a")}}

    run.play([{"val/loss": float("nan"), "val/top": float("inf")}])

    values = {n: v for row in logs(project, only_run(project)) for n, v in row.items()}
    assert str(values["val/loss"]) == "nan"
    assert values["val/top"] == float("inf")
    kept = trackio.SQLiteStorage.get_run_config(project, run_id=only_run(project))
    assert "data/path" in json.dumps(kept)


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
def test_it_keeps_the_contract_of_callbacks(project: str) -> None:
    check_callback(Trackio, options={"project": project})
