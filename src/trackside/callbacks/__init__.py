"""The callbacks that come with Trackside, one file each, in folders by purpose.

`from trackside.callbacks import EarlyStopping` finds the file `stopping/early_stopping.py` by its
name and imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    bare = name.lower()
    for file in sorted(Path(__file__).parent.glob("*/*.py")):
        if file.stem.replace("_", "") == bare:
            module = import_module(f"{__name__}.{file.parent.name}.{file.stem}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"there is no callback {name!r}")
