"""The callbacks that come with Trackside, found by their files and not by importing them.

A file `callbacks/<purpose>/early_stopping.py` holds the callback `EarlyStopping`, whose short name
is the file's. Other modules in these folders (pure logic, drawing) have no such class and are
passed over; a callback is recognised by a base whose name ends in `Callback` or `Tracker`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CALLBACK = re.compile(r"^class (\w+)\([^)]*(?:Callback|Tracker)\b", re.M)
FOLDER = Path(__file__).parents[1] / "callbacks"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One callback that comes with Trackside."""

    name: str
    """Short name: `early_stopping`."""
    purpose: str
    """The folder: `stopping`."""
    class_name: str
    file: Path

    @property
    def reference(self) -> str:
        """Fully qualified name of the class."""
        return f"trackside.callbacks.{self.purpose}.{self.name}.{self.class_name}"

    @property
    def summary(self) -> str:
        """First paragraph of its docstring, as one line; read without importing."""
        tree = ast.parse(self.file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == self.class_name:
                paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0]
                return " ".join(paragraph.split())
        raise LookupError(f"{self.file} has no class {self.class_name}")


@cache
def builtin_callbacks(folder: Path = FOLDER) -> dict[str, BuiltIn]:
    """All of them by short name, sorted by purpose and name."""
    found: dict[str, BuiltIn] = {}
    for file in sorted(folder.glob("*/*.py")):
        bare = file.stem.replace("_", "")
        for class_name in _CALLBACK.findall(file.read_text(encoding="utf-8")):
            if class_name.lower() == bare:
                found[file.stem] = BuiltIn(file.stem, file.parent.name, class_name, file)
    return found
