"""`Artifacts`."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import final

from trackside.callbacks.saving.weight_files import whole_state, write_weights
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.run_folder.inside import replace_inside
from trackside.tracking.media import File, Media, Text

CODE = "code.zip"
LARGEST_CODE = 10 * 2**20
"""Bytes of code at most: a folder that holds more is one of something else."""


@final
class Artifacts(Callback):
    """Gives trackers the code, the structure of the model, and its weights, to keep with the run.

    The code is a file `code.zip` in the run's folder, made when training begins: all files
    `*.py` below a folder, but not below hidden ones and environments. The structure is a text,
    `model`. The weights are `artifacts/<model>.safetensors`, written when training is over. Each
    tracker that keeps files or shows texts gets them: W&B, MLflow, and those of one's own.

    Args:
        code: The folder; None keeps no code.
        topology: Whether the structure of each model is sent.
        weights: Whether the weights at the end are sent.

    Raises:
        ConfigurationError: There is nothing to send; or the folder isn't one, or holds more than
            10 MiB of code.

    Example:
        >>> Artifacts(weights=True)
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"

    def __init__(
        self, code: str | Path | None = ".", *, topology: bool = True, weights: bool = False
    ) -> None:
        self.code = None if code is None else local_path(code, "code")
        if self.code is None and not topology and not weights:
            raise ConfigurationError(
                "there is nothing to send: neither code, topology nor weights", option="code"
            )
        if self.code is not None and not self.code.is_dir():
            raise ConfigurationError(
                f"code={str(code)!r} must be a folder",
                expected="a folder that exists",
                option="code",
            )
        self.topology = topology
        self.weights = weights

    def rehearse_in(self, folder: Path) -> bool:
        """Take no part in a rehearsal: its files are of the run."""
        return False

    def on_fit_start(self, run: Run) -> None:
        if not run.world.is_global_zero:
            return
        if self.code is not None:
            replace_inside(run.directory, CODE, _zipped(self.code))
            run.emit(Media.on_file, "code", File(run.directory / CODE, "code"))
        for name, model in run.models.items() if self.topology else ():
            run.emit(Media.on_text, name, Text(f"```\n{model}\n```"))

    def on_fit_end(self, run: Run) -> None:
        for name, model in run.models.items() if self.weights else ():
            state = whole_state(model, run.world)
            if run.world.is_global_zero:
                path = run.directory / "artifacts" / f"{name}.safetensors"
                write_weights(path, state, run.id)
                run.emit(Media.on_file, f"weights-{name}", File(path, "model"))


def _zipped(folder: Path) -> bytes:
    """All Python files below `folder` in one archive, always the same for the same files."""
    content, total = io.BytesIO(), 0
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_python_files(folder)):
            data = path.read_bytes()
            total += len(data)
            if total > LARGEST_CODE:
                raise ConfigurationError(
                    f"there is more than {LARGEST_CODE // 2**20} MiB of code below {folder}",
                    remedy="give a folder with this project's code only: code='src'",
                    option="code",
                )
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), data)
    return content.getvalue()


def _python_files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__")) and not Path(place, name, "pyvenv.cfg").exists()
        ]
        yield from (Path(place, name) for name in files if name.endswith(".py"))
