"""Artifacts: code, structure and weights reach whoever keeps them."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.device import same
from tests.simulated_ranks import SimulatedRanks
from trackside import Callback, Result, Run, Settings
from trackside.callbacks.averaging.swa import SWA
from trackside.callbacks.reporting.mlflow import MLflow
from trackside.callbacks.reporting.report import Report
from trackside.callbacks.saving.artifacts import Artifacts
from trackside.callbacks.saving.best_checkpoint import BestCheckpoint
from trackside.callbacks.saving.weight_files import whole_state
from trackside.checkpoint.errors import CheckpointWriteError, UnsavableStateError
from trackside.distributed import World
from trackside.errors import CheckpointError, ConfigurationError
from trackside.testing import Task, tiny_regression
from trackside.tracking.media import File, Text


class Keeping(Callback):
    """What a tracker would get."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.texts: dict[str, Text] = {}
        self.content: dict[str, str] = {}
        """Of files that are text, as they came."""

    def on_file(self, run: Any, name: str, file: File) -> None:
        self.files[name] = file
        if file.kind == "report":
            self.content[name] = file.path.read_text()

    def on_text(self, run: Any, name: str, text: Text) -> None:
        self.texts[name] = text


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("train.py", "parts/net.py", "notes.txt", ".git/hook.py", "env/site.py", ".a.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}")
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / ".#train.py").symlink_to("me@host.123:1")  # Emacs' lock
    (folder / "gone.py").symlink_to("nowhere.py")
    os.mkfifo(folder / "pipe.py")
    return folder


def train(
    callbacks: list[Callback[Any]], tmp_path: Path, epochs: int = 3, task: Task | None = None
) -> Result:
    task = task or tiny_regression()
    settings = Settings(directory=tmp_path / "run")
    trainer = task.trainer(callbacks=callbacks, settings=settings)
    return trainer.fit(task.train, task.validation, epochs=epochs)


def fit(artifacts: Artifacts, tmp_path: Path) -> tuple[Keeping, Task]:
    task, keeping = tiny_regression(), Keeping()
    result = train([keeping, artifacts], tmp_path, 1, task)
    assert result.failed_callbacks == {}
    return keeping, task


def test_the_code_of_a_project_is_kept_without_what_is_not_its_own(
    code: Path, tmp_path: Path
) -> None:
    keeping, _ = fit(Artifacts(code), tmp_path)

    file = keeping.files["code"]
    assert (file.kind, file.path) == ("code", tmp_path / "run" / "code.zip")
    assert sorted(zipfile.ZipFile(file.path).namelist()) == ["parts/net.py", "train.py"]


def test_the_code_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * 5000)
    keeping, _ = fit(Artifacts(tmp_path), tmp_path)

    assert keeping.files["code"].path.stat().st_size < 1000


def test_code_that_cannot_be_read_takes_nothing_along(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: Path) -> bytes:
        raise OSError("no such luck")

    monkeypatch.setattr("trackside.callbacks.saving.artifacts._zipped", fails)
    keeping = Keeping()

    result = train([keeping, Artifacts(code, configuration=True)], tmp_path)

    assert result.failed_callbacks == {"artifacts": 1}
    assert (list(keeping.files), list(keeping.texts)) == (["configuration"], ["model"])


def test_the_structure_of_the_model_is_a_text(tmp_path: Path) -> None:
    keeping, task = fit(Artifacts(None), tmp_path)

    assert str(task.model) in keeping.texts["model"].text
    assert keeping.files == {}


def test_the_weights_at_the_end_are_a_file(tmp_path: Path) -> None:
    keeping, task = fit(Artifacts(None, weights=True), tmp_path)

    state = load_file(keeping.files["weights-model"].path)
    assert same(state["weight"], task.model.state_dict()["weight"])


def test_the_weights_at_the_end_are_those_that_fit_returns(tmp_path: Path) -> None:
    task, keeping = tiny_regression(), Keeping()
    train([keeping, Artifacts(None, weights=True), SWA("1 epoch")], tmp_path, 3, task)

    state = load_file(keeping.files["weights-model"].path)
    assert same(state["weight"], task.model.state_dict()["weight"])


def test_the_configuration_is_a_file(tmp_path: Path) -> None:
    keeping, _ = fit(Artifacts(None, topology=False, configuration=True), tmp_path)

    kept = json.loads(keeping.files["configuration"].path.read_text())
    assert kept["precision"] == "fp32"


KEPT: dict[str, Any] = {"code": None, "topology": False, "best": True, "report": True}


class Breaking(Callback[Run]):
    """Fails at a step."""

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 5:
            raise RuntimeError("it broke")


def test_the_best_weights_and_the_report_are_sent_when_training_is_over(tmp_path: Path) -> None:
    keeping = Keeping()
    best = BestCheckpoint("val/loss")

    result = train([Artifacts(**KEPT), best, Report(), keeping], tmp_path, epochs=2)

    assert result.failed_callbacks == {}
    file = keeping.files["best-model"]
    assert (file.kind, file.path) == (
        "model",
        tmp_path / "run/best" / best.kept[0]["files"]["model"],
    )
    assert "training is over, and the run is being closed" in keeping.content["report"]


def test_after_an_error_they_are_sent_too(tmp_path: Path) -> None:
    keeping = Keeping()

    with pytest.raises(RuntimeError, match="it broke"):
        train([Artifacts(**KEPT), BestCheckpoint(), Report(), keeping, Breaking()], tmp_path)

    assert keeping.files["best-model"].path.is_file()
    assert "it broke" in keeping.content["report"]


def block(path: Path) -> None:
    """Let no file be written to `path`."""
    path.mkdir(parents=True)


def test_weights_that_cannot_be_written_take_nothing_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeping = Keeping()
    block(tmp_path / "run/artifacts/model.safetensors")

    result = train([Artifacts(**KEPT, weights=True), BestCheckpoint(), Report(), keeping], tmp_path)

    assert result.failed_callbacks == {"artifacts": 1}
    assert list(keeping.files) == ["best-model", "report"]
    assert "model.safetensors" in caplog.text


class Unsavable(nn.Module):
    """A model with a state that no file can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("odd", torch.zeros(2).to_sparse())


def sent_on_ranks(first: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Names of the files that each of two ranks sends, and the error it ends with."""

    def gather(model: nn.Module, world: World, state: Any) -> dict[str, Any]:
        world.gather(None)
        return whole_state(model, world, state)

    def program(world: World) -> tuple[list[str], type[Exception] | None]:
        sent: list[str] = []
        run: Any = SimpleNamespace(world=world, directory=folder, id="run")
        run.models = {"first": first, "second": nn.Linear(1, 1)}
        run.callbacks = ()
        run.emit = lambda event, name, file: sent.append(name)
        try:
            Artifacts(None, weights=True).on_fit_end(run)
        except CheckpointError as error:
            return sent, type(error)
        return sent, None

    monkeypatch.setattr("trackside.callbacks.saving.artifacts.whole_state", gather)
    return SimulatedRanks(2).run(program)


def test_a_file_that_cannot_be_written_lets_no_rank_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(tmp_path / "artifacts/first.safetensors")

    zero, one = sent_on_ranks(nn.Linear(1, 1), tmp_path, monkeypatch)

    assert zero == (["weights-second"], CheckpointWriteError)
    assert one == ([], None)


def test_a_state_that_no_file_can_hold_leaves_the_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero, one = sent_on_ranks(Unsavable(), tmp_path, monkeypatch)

    assert zero == (["weights-second"], UnsavableStateError)
    assert one == ([], UnsavableStateError)


def test_two_parts_that_fail_are_both_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: Report, run: Any) -> Path:
        raise OSError("no page today")

    monkeypatch.setattr(Report, "make_page", fails)
    block(tmp_path / "run/artifacts/model.safetensors")
    artifacts = Artifacts(None, weights=True, report=True)

    train([artifacts, Report()], tmp_path)

    told = "".join(record.exc_text or "" for record in caplog.records)
    assert "model.safetensors" in told
    assert "no page today" in told


@pytest.mark.filterwarnings("ignore")
def test_the_store_of_mlflow_has_all_of_them(tmp_path: Path) -> None:
    options = {**KEPT, "code": tmp_path, "configuration": True, "weights": True}
    tracker = MLflow(tracking_uri=f"sqlite:///{tmp_path}/m.db", artifacts=str(tmp_path / "kept"))

    train([Artifacts(**options), BestCheckpoint(), Report(), tracker], tmp_path, epochs=1)

    place = tmp_path / "kept" / str(tracker.run_id) / "artifacts"
    found = {path.relative_to(place).as_posix() for path in place.rglob("*.*")}
    assert found == {
        "best-model/step-0000000003.safetensors",
        "code/code.zip",
        "configuration/configuration.json",
        "report/report.html",
        "weights-model/model.safetensors",
    }


@pytest.mark.parametrize(
    ("option", "remedy"), [("best", "add `BestCheckpoint`"), ("report", "add `Report`")]
)
def test_what_no_callback_keeps_is_refused_before_training(
    option: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        train([Artifacts(None, **{option: True})], tmp_path)


def test_the_weights_at_the_end_are_the_restored_ones(tmp_path: Path) -> None:
    keeping = Keeping()
    best = BestCheckpoint("val/loss", mode="max", restore=True)

    result = train([keeping, Artifacts(None, weights=True), best], tmp_path)

    state = load_file(keeping.files["weights-model"].path)
    kept = load_file(tmp_path / "run" / "best" / best.kept[0]["files"]["model"])
    assert best.kept[0]["step"] < result.outcome.step
    assert same(state["weight"], kept["weight"])


@pytest.mark.parametrize("options", [{"code": None, "topology": False}, {"code": "not/there"}])
def test_nothing_to_send_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Artifacts(**options)


def test_a_folder_that_holds_too_much_is_refused(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackside.callbacks.saving.artifacts.LARGEST_CODE", 10)
    task = tiny_regression()

    with pytest.raises(ConfigurationError, match="MiB of code"):
        task.trainer(callbacks=[Artifacts(code)]).fit(task.train, epochs=1)
