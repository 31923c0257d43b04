"""What `CONTRIBUTING.md` tells a newcomer to edit or to type exists."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S)
QUOTED = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PROSE)]

FILES = {word for span in QUOTED for word in span.split() if re.fullmatch(r"[\w./<>-]+", word)}
VALUES = {"train/loss"}
PATHS = sorted(w for w in FILES - VALUES if "/" in w and not w.startswith(".venv"))
SHORT_FOR = {
    "callbacks/__init__.py": "src/trackside/callbacks/__init__.py",
}
MODULES = sorted(set(re.findall(r"python -m (tests[\w.]+)", TEXT)))
TARGETS = sorted({word for span in QUOTED for word in re.findall(r"^make (\w+)$", span)})
# Names that a step says are in a file.
IN_FILES = {
    "EXPECTED_NOTES": "tests/callbacks/test_contract.py",
    "Listeners": "src/trackside/loop/state.py",
    "DIALECTS": "src/trackside/lifecycle/adoption.py",
    "PAGES": "tests/dialects/pages.py",
    "optional-packages": "pyproject.toml",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_it_names_exists(path: str) -> None:
    known = SHORT_FOR.get(path, path)
    folder = re.split(r"[^/]*<", known)[0]  # of a file to be written, the folder it goes into
    assert (REPOSITORY / folder).exists()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_it_runs_exists(module: str) -> None:
    assert find_spec(module) is not None


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_it_names_is_in_the_makefile(target: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.M)


@pytest.mark.parametrize(("name", "file"), IN_FILES.items())
def test_a_name_that_it_says_is_in_a_file_is_there(name: str, file: str) -> None:
    assert f"`{name}`" in TEXT
    assert name in (REPOSITORY / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("trackside.dialects.translation", "Adapter"),
        ("trackside.dialects.translation", "row"),
        ("trackside.dialects.translation", "Row"),
        ("trackside.lifecycle.adoption", "adopters"),
        ("trackside.lifecycle.hooks", "hook"),
        ("trackside.loop.state", "Training"),
    ],
)
def test_a_part_that_its_steps_use_exists(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)
