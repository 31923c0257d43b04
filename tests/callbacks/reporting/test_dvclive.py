"""DVCLive's files, with the package itself (`make trackers`) or a stand-in for it."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.tracking.killed_runs import killed_and_gone_on, points
from trackside.callbacks.reporting.dvclive import DVCLive
from trackside.history import Record
from trackside.run import Rollback
from trackside.testing import ScriptedRun, check_callback, script
from trackside.tracking.media import Media, Picture, Text
from trackside.tracking.tracker import TrackedRun

AXES = {"epoch", "samples", "seconds"}


class Live:
    """What DVCLive's class writes, without DVC."""

    def __init__(self, folder: str, **options: Any) -> None:
        self.folder, self.step = Path(folder), 0
        self.summary: dict[str, Any] = {}
        if not options["resume"]:
            for kind in ("metrics", "images"):
                shutil.rmtree(self.folder / "plots" / kind, ignore_errors=True)

    def log_params(self, parameters: dict[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(json.dumps(parameters))

    def log_metric(self, name: str, value: float) -> None:
        table = self.folder / "plots" / "metrics" / f"{name}.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("a") as file:
            if not table.stat().st_size:
                file.write(f"step\t{table.stem}\n")
            file.write(f"{self.step}\t{value}\n")
        group, (*above, last) = self.summary, name.split("/")
        for part in above:
            group = group.setdefault(part, {})
        group[last] = value

    def log_image(self, name: str, pixels: Any) -> None:
        (self.folder / "plots" / "images" / name).write_bytes(b"png")

    def make_summary(self) -> None:
        (self.folder / "metrics.json").write_text(json.dumps(self.summary))

    def make_dvcyaml(self) -> None:
        (self.folder / "dvc.yaml").write_text("")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("dvclive.live")
    module.Live = Live
    monkeypatch.setitem(sys.modules, "dvclive", ModuleType("dvclive"))
    monkeypatch.setitem(sys.modules, "dvclive.live", module)


def tables(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Rows of each table below a run's folder, by its name."""
    found = {}
    place = folder / "dvclive" / "plots" / "metrics"
    for path in sorted(place.rglob("*.tsv")):
        name = path.relative_to(place).with_suffix("").as_posix()
        with path.open(newline="") as file:
            _, *rows = csv.reader(file, delimiter="\t")
        found[name] = [(int(step), float(value)) for step, value in rows]
    return found


def last_values(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "dvclive" / "metrics.json").read_text())
    return found


@pytest.mark.usefixtures("stand_in")
def test_records_of_one_step_share_a_row_of_the_axes(tmp_path: Path) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.record({"train/loss": 0.5})
        run.record({"val/loss": 0.25})

    script(DVCLive(), story, directory=tmp_path)

    found = tables(tmp_path)
    assert (found["train/loss"], found["val/loss"]) == ([(1, 0.5)], [(1, 0.25)])
    assert {len(found[name]) for name in AXES} == {1}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("name", ["../out", "/out", "a//b", "step", "val/step", "samples", "a\nb"])
def test_a_name_that_can_be_no_file_costs_that_value_only(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        script(DVCLive(), lambda run: run.record({name: 1.0, "loss": 0.5}), directory=tmp_path)

    assert f"DVCLive refuses the metric {name!r}" in caplog.text
    assert tables(tmp_path).keys() == {"loss"} | AXES
    assert not (tmp_path.parent / "out.tsv").exists()


@pytest.mark.usefixtures("stand_in")
def test_a_metric_below_the_name_of_another_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        script(DVCLive(), lambda run: run.record({"loss": 0.5, "loss/a": 1.0}), directory=tmp_path)

    assert "'loss' is a metric, and can't be a group" in caplog.text
    assert last_values(tmp_path)["loss"] == 0.5


@pytest.mark.usefixtures("stand_in")
def test_the_last_values_hold_how_the_run_ended(tmp_path: Path) -> None:
    script(DVCLive(), [{"val/loss": 0.5}], directory=tmp_path)

    assert last_values(tmp_path)["outcome"].startswith("completed at step 4")


@pytest.mark.usefixtures("stand_in")
def test_the_configuration_is_nested_as_it_was_written(tmp_path: Path) -> None:
    run = ScriptedRun(DVCLive(), directory=tmp_path)
    run.config = {"data": {"path": Path("a")}}

    run.play([])

    kept = json.loads((tmp_path / "dvclive" / "params.yaml").read_text())
    assert kept == {"data": {"path": "a"}}


@pytest.mark.usefixtures("stand_in")
def test_a_roll_back_drops_rows_and_pictures_of_later_steps(tmp_path: Path) -> None:
    def story(run: ScriptedRun) -> None:
        for loss in (3.0, 2.0, 1.0):
            run.tell_step()
            run.record({"loss": loss})
            run.emit(Media.on_picture, "shown", Picture(np.zeros((1, 1, 3), np.uint8)))
        tracker.on_roll_back(run, Rollback(3, 1, "it diverged", "a test"))

    tracker = DVCLive()
    script(tracker, story, directory=tmp_path)

    assert tables(tmp_path)["loss"] == [(1, 3.0)]
    assert last_values(tmp_path)["loss"] == 3.0
    pictures = (tmp_path / "dvclive" / "plots" / "images" / "shown").iterdir()
    assert [path.name for path in pictures] == ["1.png"]


@pytest.mark.usefixtures("stand_in")
def test_a_row_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    place = tmp_path / "dvclive" / "plots" / "metrics"
    place.mkdir(parents=True)
    (place / "loss.tsv").write_text("step\tloss\n1\t3.0\n2\t2")

    tracker = DVCLive()
    tracker.open(TrackedRun("name", tmp_path, {}, 2, "id"))

    assert tables(tmp_path)["loss"] == [(1, 3.0)]
    assert [tracker.was_sent("loss", step) for step in (1, 2)] == [True, False]


def theirs(folder: Path) -> Path:
    """A folder of somebody else, laid out as that of DVCLive's plots, with later steps."""
    for kind, name in (("metrics", "mine.tsv"), ("images", "700.png")):
        (folder / kind).mkdir(parents=True)
        (folder / kind / name).write_text("step\tmine\n700\t2.0\n")
    return folder


def files(folder: Path) -> dict[str, str]:
    """What each file below a folder holds."""
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("stand_in")
def test_a_link_that_was_planted_is_not_written_through(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("step\tloss\n")
    place = tmp_path / "run" / "dvclive" / "plots" / "metrics"
    tracker, record = DVCLive(), Record(step=3, epoch=0, values={}, samples=0, seconds=0.0)
    tracker.open(TrackedRun("name", tmp_path / "run", {}, 0, "id"))
    place.mkdir(parents=True, exist_ok=True)
    (place / "loss.tsv").symlink_to(theirs)
    (place.parents[1] / "params.yaml").unlink()
    (place.parents[1] / "params.yaml").symlink_to(theirs)

    tracker.write_metrics({"loss": 0.5}, record, 0.0)
    DVCLive().open(TrackedRun("name", tmp_path / "run", {}, 4, "id"))

    assert tables(tmp_path / "run")["loss"] == [(3, 0.5)]
    assert theirs.read_text() == "step\tloss\n"


def keeps_to_its_folder(link: str, step: int, folder: Path) -> None:
    """Claim that a run whose folder `link` leads elsewhere changes nothing there."""
    elsewhere = theirs(folder / "theirs")
    before = files(elsewhere)
    place = folder / "run" / "dvclive" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere / place.name if link != "plots" else elsewhere)

    with pytest.raises(OSError, match="a link inside a run's folder"):
        DVCLive().open(TrackedRun("name", folder / "run", {}, step, "id"))

    assert files(elsewhere) == before


LINKS = ["plots", "plots/metrics", "plots/images"]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("link", LINKS)
def test_a_folder_that_is_a_link_is_neither_cleared_nor_written_to(
    link: str, step: int, tmp_path: Path
) -> None:
    keeps_to_its_folder(link, step, tmp_path)


@pytest.mark.usefixtures("stand_in")
def test_another_attempt_doesnt_write_through_a_link_either(tmp_path: Path) -> None:
    elsewhere = theirs(tmp_path / "theirs")
    before = files(elsewhere)
    tracker, record = DVCLive(), Record(step=1, epoch=0, values={}, samples=0, seconds=0.0)
    tracker.open(TrackedRun("name", tmp_path / "run", {}, 0, "id"))
    place = tmp_path / "run" / "dvclive" / "plots" / "metrics"
    place.mkdir(parents=True, exist_ok=True)
    (place / "val").symlink_to(elsewhere)

    for _ in range(2):
        with pytest.raises(OSError, match="a link inside a run's folder"):
            tracker.write_metrics({"val/loss": 0.5}, record, 0.0)

    assert files(elsewhere) == before


# --- with the package -----------------------------------------------------------------------


@pytest.fixture
def package() -> None:
    pytest.importorskip("dvclive", reason="make trackers")


pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.peers
@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("link", LINKS)
def test_the_package_clears_no_folder_through_a_link(link: str, step: int, tmp_path: Path) -> None:
    keeps_to_its_folder(link, step, tmp_path)


@pytest.mark.peers
@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("delivered", [True, False])
def test_a_killed_run_goes_on_in_the_same_files_without_rows_twice(
    tmp_path: Path, delivered: bool
) -> None:
    history = killed_and_gone_on(DVCLive, {}, tmp_path, delivered=delivered)

    rows = [(name, step) for name, rows in tables(tmp_path).items() for step, _ in rows]
    assert sorted(point for point in rows if point[0] not in AXES) == points(history)
    assert sorted(step for name, step in rows if name == "samples") == list(range(1, 10))
    assert last_values(tmp_path)["outcome"].startswith("completed at step 9")


@pytest.mark.peers
@pytest.mark.usefixtures("package")
def test_dvc_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    run = ScriptedRun(DVCLive(), directory=tmp_path / "run")
    run.config = {"data": {"batch_size": 32}}

    def story(run: ScriptedRun) -> None:
        run.tell_epoch({"val/loss": 0.5, "val/top": float("nan")})
        run.emit(Media.on_picture, "val/shown", Picture(np.zeros((4, 4, 3), np.uint8)))

    run.play(story)

    assert run.callbacks.failures() == {}
    repository = Repo()
    [metrics] = repository.metrics.show()[""]["data"].values()
    assert (metrics["data"]["val"]["loss"], metrics["data"]["step"]) == (0.5, 4)
    [parameters] = repository.params.show()[""]["data"].values()
    assert parameters["data"] == {"data": {"batch_size": 32}}
    shown = json.dumps(repository.plots.show(), default=str)
    assert "val/loss.tsv" in shown
    assert "val/shown/4.png" in shown


@pytest.mark.peers
@pytest.mark.usefixtures("package")
def test_a_repository_of_git_and_a_token_of_its_service_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.scm import Git

    sent = []
    monkeypatch.setattr("dvclive.live.post_to_studio", lambda *given: sent.append(given))
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "a-token")
    monkeypatch.setenv("DVC_STUDIO_REPO_URL", "https://git.example/run")
    monkeypatch.chdir(tmp_path)
    Git.init(str(tmp_path)).close()
    before = set(tmp_path.rglob("*"))

    script(DVCLive(), [{"val/loss": 0.5}], directory=tmp_path / "run")

    made = set(tmp_path.rglob("*")) - before
    assert {path.relative_to(tmp_path).parts[0] for path in made} == {"run"}
    assert sent == []


@pytest.mark.peers
@pytest.mark.usefixtures("package")
def test_it_tells_once_that_it_takes_no_texts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def story(run: ScriptedRun) -> None:
        run.emit(Media.on_text, "notes", Text("a"))
        run.emit(Media.on_text, "notes", Text("b"))

    with caplog.at_level(logging.WARNING):
        script(DVCLive(), story, directory=tmp_path)

    assert caplog.text.count("DVCLive takes no texts") == 1


@pytest.mark.peers
@pytest.mark.usefixtures("package")
def test_it_keeps_the_contract_of_callbacks() -> None:
    check_callback(DVCLive)
