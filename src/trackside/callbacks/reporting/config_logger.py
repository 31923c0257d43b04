"""`ConfigLogger`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import torch

from trackside.callbacks.reporting import row_files, terminal
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.tracking.flat import flat


@final
class ConfigLogger(RankZeroCallback):
    """Writes the configuration of the run, and the versions it ran with, as a JSON file.

    When the file is there already, with other contents, it is set aside as `config.1.json`: so a
    resumed run with changed settings shows both.

    Args:
        file: Name of the file in the run's folder, or a path.
        show: Whether the configuration is printed too.

    Example:
        >>> ConfigLogger(show=True)
        ConfigLogger(show=True)
    """

    effect = "observes"
    writes = ("file",)
    on_error = "warn"

    def __init__(self, file: str | Path = "config.json", *, show: bool = False) -> None:
        self.file = local_path(file, "file")
        self.show = show

    def on_fit_start(self, run: Run) -> None:
        path = run.directory / self.file
        text = json.dumps(described(run), indent=2, default=str) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            row_files.set_aside(path)
            row_files.RowFile(path, [text]).close()
        if self.show:
            for name, value in flat(run.config).items():
                terminal.say(f"{name}: {value}")


def described(run: Run) -> dict[str, Any]:
    """Configuration, callbacks in order, and versions."""
    return {
        "config": dict(run.config),
        "callbacks": {name: repr(callback) for name, callback in run.callbacks.items()},
        "versions": {
            "trackside": version("trackside"),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
