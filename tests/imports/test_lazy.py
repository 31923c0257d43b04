from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trackside
from trackside.errors import MisspeltNameError, TracksideError
from trackside.imports.lazy import lazily

PACKAGE = Path(trackside.__file__).parent
LAZY = [f for f in sorted(PACKAGE.rglob("__init__.py")) if "lazily(" in f.read_text()]


def lists(file: Path) -> tuple[set[tuple[str, str]], set[tuple[str, str]], list[str]]:
    """(module, name) as type checkers read them and as `lazily` is given them, and `__all__`."""
    package = ".".join(("trackside", *file.parent.relative_to(PACKAGE).parts))
    typed, given, public = set(), set(), []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.names[0].asname is not None:
            typed |= {(str(node.module), alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazily":
            homes = ast.literal_eval(node.args[1])
            given |= {
                (f"{package}.{home}", name) for home, names in homes.items() for name in names
            }
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            public = ast.literal_eval(node.value)
    return typed, given, public


@pytest.mark.parametrize("file", LAZY, ids=lambda file: file.parent.name)
def test_type_checkers_and_the_interpreter_find_the_same_names(file: Path) -> None:
    typed, given, public = lists(file)
    assert typed == given
    assert sorted(public) == sorted(name for _, name in given)


def test_all_packages_that_import_late_do_so_in_one_way() -> None:
    assert {file.parent.name for file in LAZY} == {
        "callbacks",
        "checkpoint",
        "config",
        "distributed",
        "guests",
        "resume",
        "testing",
        "trackside",
    }
    others = [f for f in PACKAGE.rglob("__init__.py") if "def __getattr__" in f.read_text()]
    assert others == []


def test_a_name_is_taken_from_its_home_and_kept() -> None:
    get, listed = lazily("trackside.testing", {"tasks": ("tiny_rows",)})
    assert get("tiny_rows") is trackside.testing.tasks.tiny_rows  # type: ignore[attr-defined]
    assert "tiny_rows" in listed()


def test_a_misspelt_class_is_answered_with_the_right_one() -> None:
    with pytest.raises(ImportError, match=r"did you mean `Trainer`\?"):
        from trackside import Trainr  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(
        TracksideError, match=r"`trackside.callbacks` has no `EarlyStoping`"
    ) as info:
        from trackside.callbacks import EarlyStoping  # type: ignore[attr-defined]  # noqa: F401
    assert isinstance(info.value, MisspeltNameError)
    assert info.value.remedy == "did you mean `EarlyStopping`?"


def test_what_is_nothing_like_a_public_name_is_an_attribute_error() -> None:
    assert not hasattr(trackside, "Xyzzy")
    assert not hasattr(trackside, "trainr")
