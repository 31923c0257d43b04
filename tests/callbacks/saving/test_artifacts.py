"""Artifacts: code, structure and weights reach whoever keeps them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.device import same
from trackside import Callback, Settings
from trackside.callbacks.saving.artifacts import Artifacts
from trackside.errors import ConfigurationError
from trackside.testing import Task, tiny_regression
from trackside.tracking.media import File, Text


class Keeping(Callback):
    """What a tracker would get."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.texts: dict[str, Text] = {}

    def on_file(self, run: Any, name: str, file: File) -> None:
        self.files[name] = file

    def on_text(self, run: Any, name: str, text: Text) -> None:
        self.texts[name] = text


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("train.py", "parts/net.py", "notes.txt", ".git/hook.py", "env/site.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}")
    (folder / "env" / "pyvenv.cfg").write_text("")
    return folder


def fit(artifacts: Artifacts, tmp_path: Path) -> tuple[Keeping, Task]:
    task, keeping = tiny_regression(), Keeping()
    settings = Settings(directory=tmp_path / "run")
    trainer = task.trainer(callbacks=[keeping, artifacts], settings=settings)
    result = trainer.fit(task.train, epochs=1)
    assert result.failed_callbacks == {}
    return keeping, task


def test_the_code_of_a_project_is_kept_without_what_is_not_its_own(
    code: Path, tmp_path: Path
) -> None:
    keeping, _ = fit(Artifacts(code), tmp_path)

    file = keeping.files["code"]
    assert (file.kind, file.path) == ("code", tmp_path / "run" / "code.zip")
    assert sorted(zipfile.ZipFile(file.path).namelist()) == ["parts/net.py", "train.py"]


def test_the_structure_of_the_model_is_a_text(tmp_path: Path) -> None:
    keeping, task = fit(Artifacts(None), tmp_path)

    assert str(task.model) in keeping.texts["model"].text
    assert keeping.files == {}


def test_the_weights_at_the_end_are_a_file(tmp_path: Path) -> None:
    keeping, task = fit(Artifacts(None, weights=True), tmp_path)

    state = load_file(keeping.files["weights-model"].path)
    assert same(state["weight"], task.model.state_dict()["weight"])


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
