"""`Artifacts`."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, final

from torch import Tensor

from trackside.callbacks.saving.weight_files import final_weights, whole_state, write_weights
from trackside.checkpoint.errors import UnsavableStateError
from trackside.errors import ConfigurationError, note_on
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.roles import KeepsBestWeights, MakesReport
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.run_folder.inside import replace_inside
from trackside.tracking.media import File, Media, Text

CODE = "code.zip"
LARGEST_CODE = 10 * 2**20
"""Bytes of code at most: a folder that holds more is one of something else."""
CONFIGURATION = "artifacts/configuration.json"
R = TypeVar("R")


@final
class Artifacts(Callback):
    """Gives trackers code, configuration, weights and a report, to keep with the run.

    The code is a file `code.zip` in the run's folder, made when training begins: all files
    `*.py` below a folder, but not hidden ones, and none of environments. The structure is a text,
    `model`. The configuration is `artifacts/configuration.json`, without secrets. The weights are
    `artifacts/<model>.safetensors`, written when training is over: those that the model has when
    `fit` returns. The best weights are the files that `BestCheckpoint` keeps, and the report is the
    page of `Report`; both are sent when training is over, also by an error. Each tracker that keeps
    files or shows texts gets them: W&B, MLflow, Trackio, and those of one's own; one that doesn't
    says so once. What can't be made or sent takes nothing else along.

    Args:
        code: The folder; None keeps no code.
        topology: Whether the structure of each model is sent.
        weights: Whether the weights at the end are sent.
        best: Whether the best weights are sent.
        configuration: Whether the configuration is sent, as a file.
        report: Whether the report is sent.

    Raises:
        ConfigurationError: There is nothing to send; the folder isn't one, or holds more than
            10 MiB of code; or, when training begins, no callback keeps best weights, or makes a
            report.

    Example:
        >>> Artifacts(weights=True)
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"
    runs_after = ("ema", "swa", "early_stopping", "best_checkpoint")

    def __init__(
        self,
        code: str | Path | None = ".",
        *,
        topology: bool = True,
        weights: bool = False,
        best: bool = False,
        configuration: bool = False,
        report: bool = False,
    ) -> None:
        self.code = None if code is None else local_path(code, "code")
        if self.code is None and not (topology or weights or best or configuration or report):
            raise ConfigurationError(
                "there is nothing to send: no code, topology, weights, configuration or report",
                option="code",
            )
        if self.code is not None and not self.code.is_dir():
            raise ConfigurationError(
                f"code={str(code)!r} must be a folder",
                expected="a folder that exists",
                option="code",
            )
        self.topology = topology
        self.weights = weights
        self.best = best
        self.configuration = configuration
        self.report = report
        self._is_due = False
        """Whether best weights and the report are still to be sent."""

    def rehearse_in(self, folder: Path) -> bool:
        """Take no part in a rehearsal: its files are of the run."""
        return False

    def on_fit_start(self, run: Run) -> None:
        if self.best:
            _keeper(run)
        if self.report:
            _reporter(run)
        self._is_due = True
        if not run.world.is_global_zero:
            return
        parts = _Parts()
        if self.configuration:
            with parts.alone():
                text = json.dumps(dict(run.config), indent=2, default=str) + "\n"
                replace_inside(run.directory, CONFIGURATION, text)
                run.emit(Media.on_file, "configuration", File(run.directory / CONFIGURATION))
        if self.code is not None:
            with parts.alone():
                replace_inside(run.directory, CODE, _zipped(self.code))
                run.emit(Media.on_file, "code", File(run.directory / CODE, "code"))
        for name, model in run.models.items() if self.topology else ():
            with parts.alone():
                run.emit(Media.on_text, name, Text(f"```\n{model}\n```"))
        parts.raise_first()

    def on_fit_end(self, run: Run) -> None:
        parts = _Parts()
        if self.weights:
            with parts.alone():
                self._send_weights(run, parts)
        self._send_what_is_kept(run, parts)
        parts.raise_first()

    def on_exception(self, run: Run, error: BaseException) -> None:
        # Here and not in `on_close`: the trackers are still open.
        parts = _Parts()
        self._send_what_is_kept(run, parts)
        parts.raise_first()

    def _send_weights(self, run: Run, parts: _Parts) -> None:
        """Send the weights of each model; every rank takes part in gathering all of them."""
        for name, model in run.models.items():
            # An unsavable state is one on every rank, and the file is rank 0's alone: all go on to
            # the next model. Another error in gathering may be of one rank, and ends the loop.
            with parts.alone(UnsavableStateError):
                state = whole_state(model, run.world, final_weights(run, name))
                if run.world.is_global_zero:
                    with parts.alone():
                        _send_weights_of(run, name, state)

    def _send_what_is_kept(self, run: Run, parts: _Parts) -> None:
        """Send the best weights and the report; on rank 0, and without asking other ranks."""
        is_due, self._is_due = self._is_due, False
        if not is_due or not run.world.is_global_zero:
            return
        if self.best:
            with parts.alone():
                for name, path in _keeper(run).best_files(run).items():
                    run.emit(Media.on_file, f"best-{name}", File(path, "model"))
        if self.report:
            with parts.alone():
                page = _reporter(run).make_page(run)
                run.emit(Media.on_file, "report", File(page, "report"))


class _Parts:
    """Parts of which each is done by itself: the first error waits until all have been."""

    def __init__(self) -> None:
        self._first: Exception | None = None

    @contextmanager
    def alone(self, kind: type[Exception] = Exception) -> Iterator[None]:
        """Keep an error of `kind` that comes up inside; a further one is noted on the first."""
        try:
            yield
        except kind as error:
            if self._first is None:
                self._first = error
            else:
                note_on(self._first, "sending the rest", error)

    def raise_first(self) -> None:
        """Raise the error that waits, if there is one."""
        if self._first is not None:
            raise self._first


def _send_weights_of(run: Run, name: str, state: Mapping[str, Tensor]) -> None:
    path = run.directory / "artifacts" / f"{name}.safetensors"
    write_weights(path, state, run.id)
    run.emit(Media.on_file, f"weights-{name}", File(path, "model"))


def _keeper(run: Run) -> KeepsBestWeights:
    """The callback that keeps the best weights; the first where several do."""
    return _first([one for one in run.callbacks if isinstance(one, KeepsBestWeights)], "best")


def _reporter(run: Run) -> MakesReport:
    return _first([one for one in run.callbacks if isinstance(one, MakesReport)], "report")


def _first(found: list[R], option: str) -> R:
    if not found:
        needed = {"best": "BestCheckpoint", "report": "Report"}[option]
        raise ConfigurationError(
            f"`Artifacts({option}=True)` has nothing to send: no callback keeps it",
            remedy=f"add `{needed}` to the callbacks, or leave out {option}=True",
            option=option,
        )
    return found[0]


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
            name = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _python_files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__")) and not Path(place, name, "pyvenv.cfg").exists()
        ]
        code = (Path(place, n) for n in files if n.endswith(".py") and not n.startswith("."))
        # An editor's lock is a link to nowhere; reading a pipe would wait.
        yield from (path for path in code if path.is_file())
