"""Who can write into a run's folder can make the run neither write elsewhere nor import there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.config.files import good, write
from trackside.checkpoint import CheckpointWriteError
from trackside.config import Experiment, load
from trackside.config.experiment.kept import load_kept, runs_in
from trackside.outcome import Status
from trackside.run_folder import ownership

WRITERS = """\
metrics: {accuracy: accuracy}
callbacks:
  csv_logger: {}
  config_logger: {}
  histograms: {every: 1 step}
  save_predictions: {data: val}
  save_weights: {}
  best_checkpoint: {monitor: val/loss}
  benchmark: {steps: 1, skip: 0}
"""


def _run() -> None:
    write(good(more=WRITERS))
    finished = load("run.yaml").run()
    assert finished.result.outcome.status is Status.COMPLETED
    assert finished.result.failed_callbacks == {}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every file that a run with all these callbacks writes, outside its checkpoints."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _run()
    files = [p.relative_to(folder / "run") for p in (folder / "run").rglob("*") if p.is_file()]
    return [one for one in files if one.parts[0] != "checkpoints"]


def test_no_file_that_a_run_writes_is_written_through_a_link(written: list[Path]) -> None:
    assert len(written) >= 10
    victims = Path("victims").absolute()
    victims.mkdir()
    for number, file in enumerate(written):
        (victims / str(number)).write_text("precious")
        (Path("run") / file).parent.mkdir(parents=True, exist_ok=True)
        (Path("run") / file).symlink_to(victims / str(number))
    _run()
    damaged = [f for n, f in enumerate(written) if (victims / str(n)).read_text() != "precious"]
    assert damaged == []


def test_checkpoints_are_not_written_through_a_link() -> None:
    Path("victim").mkdir()
    Path("run").mkdir()
    Path("run/checkpoints").symlink_to(Path("victim").absolute())
    write(good(more="callbacks: {checkpoint: {}}\n"))
    with pytest.raises(CheckpointWriteError, match="is not followed") as raised:
        load("run.yaml").run()
    assert "Checkpoint(folder=" in (raised.value.remedy or "")
    assert os.listdir("victim") == []


def test_the_run_folder_itself_may_be_a_link() -> None:
    Path("elsewhere").mkdir()
    Path("run").symlink_to("elsewhere")
    write(good())
    assert load("run.yaml").run().result.outcome.status is Status.COMPLETED


# --- what is imported for a kept run -------------------------------------------------------------


def _kept() -> Path:
    write(good())
    load("run.yaml").run()
    environment = Path("run/environment.json")
    told = json.loads(environment.read_text())
    told["search_path"] = ["/somewhere"]
    environment.write_text(json.dumps(told))
    return environment


def _search_path() -> tuple[str, ...]:
    experiment = load_kept("run")
    assert isinstance(experiment, Experiment)
    return experiment.search_path


def test_the_search_path_of_an_own_run_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    _kept()
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert _search_path() == ("/somewhere",)
    assert sys.path[0] == "/somewhere"


@pytest.mark.parametrize("whose", ["folder", "file"])
def test_that_of_another_users_run_is_not(
    whose: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment = _kept()
    theirs = environment if whose == "file" else environment.parent
    theirs_is = theirs.stat().st_ino

    def owner(status: os.stat_result) -> int:
        return 54321 if status.st_ino == theirs_is else status.st_uid

    monkeypatch.setattr(ownership, "owner_of", owner)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with caplog.at_level(logging.WARNING):
        assert _search_path() == ()
    assert "belongs to another user" in caplog.text
    assert "/somewhere" not in sys.path
    assert str(environment.parent.resolve()) not in sys.path


def test_that_of_a_folder_that_anybody_may_write_to_is_not() -> None:
    environment = _kept()
    environment.parent.chmod(0o777)
    assert _search_path() == ()


@pytest.mark.parametrize("name", ["environment.json", "outcome.json"])
@pytest.mark.parametrize("planted", ["pipe", "link to a device", "folder", "text", "list"])
def test_runs_are_listed_whatever_lies_in_their_folders(name: str, planted: str) -> None:
    _kept()
    path = Path("run") / name
    path.unlink()
    if planted == "pipe":
        os.mkfifo(path)
    elif planted == "folder":
        path.mkdir()
    elif planted == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[]" if planted == "list" else "{")
    (kept,) = runs_in(".")
    assert kept.folder == Path("run")
    shutil.rmtree("run")
