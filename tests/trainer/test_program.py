from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from trackside import Program, Secret, Settings, program
from trackside.callbacks.reporting.git_state import GitState
from trackside.callbacks.reporting.provenance import Provenance
from trackside.config.experiment import programs
from trackside.config.experiment.programs import load_program
from trackside.errors import ConfigurationError, UsageError
from trackside.testing import tiny_regression


@program
def tiny(steps: int = 3, directory: str = "run", odd: Any = None) -> Program:
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Provenance()], settings=Settings(directory=directory, device="cpu")
    )
    return Program(trainer, task.train, task.validation, options={"steps": steps})


@program
def nothing() -> Program:
    return None  # type: ignore[return-value]


def test_a_program_trains_what_its_function_says() -> None:
    assert tiny(steps=5).fit().outcome.step == 5


def test_options_of_fit_take_the_place_of_the_programs_own() -> None:
    assert tiny(steps=5).fit(steps=2).outcome.step == 2


@program
def with_a_key(token: Secret, steps: int = 2) -> Program:
    assert token == "hunter2-and-more"
    return tiny(steps=steps)


def test_an_argument_that_is_secret_is_not_kept() -> None:
    with_a_key("hunter2-and-more", steps=1).fit()

    kept = Path("run/settings.json").read_text()
    assert "hunter2" not in kept
    assert json.loads(kept)["made_by"]["arguments"] == {"token": "???", "steps": 1}


def test_an_argument_that_is_secret_is_asked_for_again() -> None:
    with_a_key("hunter2-and-more", steps=1).fit()

    with pytest.raises(UsageError, match=r"`token` .* was not kept") as info:
        load_program(Path("run"), [])
    assert info.value.remedy == "give it again: token=..."
    again = load_program(Path("run"), ["token=hunter2-and-more", "steps=2"])
    assert again.overrides == ("token=???", "steps=2"), "as a folder may keep them"


@program
def with_options(lr: float = 0.1, tag: str = "", widths: tuple[int, ...] = ()) -> Program:
    made = tiny(steps=1)
    return Program(made.trainer, made.train, options={"steps": 1, "seen": (lr, tag, widths)})


@pytest.mark.parametrize(
    ("override", "seen"),
    [
        ("lr=1e-3", (1e-3, "", ())),
        ("tag=on", (0.1, "on", ())),
        ("tag=12:30:00", (0.1, "12:30:00", ())),
        ("widths=[8, 010]", (0.1, "", [8, 10])),
    ],
)
def test_arguments_are_read_as_in_a_file(override: str, seen: object) -> None:
    assert load_program(_kept_by(with_options()), [override]).program.options["seen"] == seen


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lr", "`lr` can't override"),
        ("lr=fast", "expected: *a number"),
        ("tag=5", "expected: *text"),
        ("widths=[1, 2", "is not closed"),
    ],
)
def test_an_argument_that_is_not_understood_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_program(_kept_by(with_options()), [override])


def _kept_by(made: Program) -> Path:
    Path("run").mkdir()
    Path("run/settings.json").write_text(json.dumps({"made_by": made.trainer.made_by}))
    return Path("run")


def test_a_run_keeps_the_function_that_made_it_and_its_arguments() -> None:
    tiny(steps=2).fit()

    kept = json.loads(Path("run/settings.json").read_text())
    assert kept["made_by"]["function"] == f"{__name__}:tiny"
    assert kept["made_by"]["arguments"] == {"steps": 2}


IMPORTED = """from trackside import Program, Settings, program
from trackside.callbacks.reporting.provenance import Provenance
from trackside.testing import tiny_regression


@program
def small():
    task = tiny_regression()
    trainer = task.trainer(callbacks=[Provenance()], settings=Settings(directory="run"))
    return Program(trainer, task.train, options={"steps": 1})
"""


@pytest.mark.parametrize("module", ["flat_of_a_project", "pack_of_a_project.part"])
def test_a_function_that_a_script_imported_is_found_again(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (tmp_path / "project").joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    file.write_text(IMPORTED)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "project"), *sys.path])
    import_module(module).small().fit()

    # as in the process of a command, which has neither imported it nor its folder on the path
    for name in [name for name in sys.modules if "_of_a_project" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", sys.path[1:])
    monkeypatch.setattr(programs, "MAKERS", {})
    assert load_program(Path("run"), []).program.options == {"steps": 1}


def test_the_folder_of_what_is_installed_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.__wrapped__, "__module__", "torch.nn.modules")  # type: ignore[attr-defined]
    made_by = program(tiny.__wrapped__)().trainer.made_by  # type: ignore[attr-defined]
    assert made_by == {
        "function": "torch.nn.modules:tiny",
        "arguments": {},
        "search_path": None,
    }


def test_arguments_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(UsageError, match="can't be kept"):
        tiny(odd=object())


def test_a_function_that_nobody_can_import_is_refused() -> None:
    def inner() -> Program:
        return nothing()

    with pytest.raises(UsageError, match="can't be imported"):
        program(inner)


def test_a_function_that_returns_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="returns no program"):
        nothing()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_changes_are_a_patch_and_no_program_of_the_repository_runs() -> None:
    program = Path("program.sh")
    program.write_text(f"#!/bin/sh\ntouch {Path.cwd()}/it-ran\n")
    program.chmod(0o755)
    author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    Path("file").write_text("one\n")
    Path(".gitattributes").write_text("file diff=shown\n")
    for words in (["init", "-q"], ["add", "file"], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], check=True)
    for name in ("diff.external", "diff.shown.textconv", "core.fsmonitor"):
        subprocess.run(["git", "config", name, str(program.resolve())], check=True)
    subprocess.run(["git", "config", "color.ui", "always"], check=True)
    Path("file").write_text("two\n")
    _, changes = GitState(Path.cwd()).read()
    assert changes.endswith("-one\n+two\n")
    assert not Path("it-ran").exists()
