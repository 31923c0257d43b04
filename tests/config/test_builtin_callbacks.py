"""The list of built-in callbacks is that of the classes in their folders, found without imports."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from trackside.config.builtin_callbacks import FOLDER, builtin_callbacks
from trackside.lifecycle.hooks import Callback


def callbacks_in_modules() -> Iterator[str]:
    """Full names of the callbacks that nothing is derived from, by importing everything."""
    for file in sorted(FOLDER.glob("*/*.py")):
        module = import_module(f"trackside.callbacks.{file.parent.name}.{file.stem}")
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == module.__name__
            if own and issubclass(value, Callback) and getattr(value, "__final__", False):
                yield f"{module.__name__}.{name}"


def test_every_callback_is_listed_and_nothing_else() -> None:
    listed = {one.reference for one in builtin_callbacks().values()}

    assert listed == set(callbacks_in_modules())


def test_a_module_of_pure_logic_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "stopping"
    folder.mkdir()
    (folder / "patience.py").write_text('class Patience:\n    """Callback-like, but none."""\n')
    (folder / "waits.py").write_text('class Waits(PeriodicCallback):\n    """Waits."""\n')
    (folder / "other.py").write_text("class Different(Callback): ...\n")

    assert list(builtin_callbacks(tmp_path)) == ["waits"]
    assert "patience" not in builtin_callbacks()


@pytest.mark.parametrize("name", builtin_callbacks())
def test_the_line_of_a_callback_is_one_short_sentence(name: str) -> None:
    summary = builtin_callbacks()[name].summary

    assert summary.endswith(".")
    assert len(summary) <= 100
