"""`callbacks/__init__.py` names what the folders hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import trackside.callbacks
from trackside.cli.callback_index import index
from trackside.config.builtin_callbacks import builtin_callbacks

FIRST = """
import sys
from trackside.callbacks import {name}
print(*(m for m in sys.modules if m == "torch" or m.startswith("trackside.callbacks.")))
"""


def test_the_index_is_what_the_folders_hold() -> None:
    written = Path(trackside.callbacks.__file__).read_text(encoding="utf-8")
    assert written == index(), "make index"


def test_every_callback_can_be_imported_by_its_name_alone() -> None:
    names = {one.class_name for one in builtin_callbacks().values()}
    assert set(trackside.callbacks.__all__) == names
    for name in names:
        assert getattr(trackside.callbacks, name).__name__ == name


@pytest.mark.parametrize("name", ["StopAt", "CSVLogger"])
def test_importing_one_callback_imports_no_other_and_not_torch(name: str) -> None:
    program = FIRST.format(name=name)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "torch" not in loaded
    others = {one.reference.rpartition(".")[0] for one in builtin_callbacks().values()}
    assert len(loaded & others) == 1
