"""`ExportModel`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import nn

from trackside.callbacks.saving.best_checkpoint import BestCheckpoint
from trackside.callbacks.saving.exporting import (
    SAMPLES,
    Traced,
    compare,
    host_copy,
    run_onnx,
    to_onnx,
    trace,
    write_whole,
)
from trackside.callbacks.saving.weight_files import final_weights
from trackside.checkpoint.tensors import is_sharded
from trackside.data.batches import Batch, move, take
from trackside.data.counting import samples_in
from trackside.errors import (
    ConfigurationError,
    DataError,
    ScheduleError,
    UnknownDataError,
    UnknownModelError,
    UsageError,
    did_you_mean,
)
from trackside.imports.extras import optional_package
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.lifecycle.roles import HasWeights
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.schedule import Schedule
from trackside.tracking.schedule_ledger import noted

logger = logging.getLogger("trackside")

_ENDINGS = {"torch": ".pt2", "onnx": ".onnx"}


@final
class ExportModel(PeriodicCallback):
    """Writes the model as a program that runs without its source: for deployment.

    `torch` writes a `torch.export` program, `torch.export.load("model.pt2").module()` runs it;
    `onnx` a file for ONNX runtimes. The example that the model is traced with comes from the run's
    data and doesn't get into the file. The program is made of a copy on the host, in evaluation
    and in the precision of the weights; it takes batches of any size. Before it is written, its
    outputs are compared with the model's, for several sizes; an ONNX file is read back for that.
    A file is replaced whole or not at all.

    Once before the first step the export is tried, so that a model that can't be traced is known
    then and not after days. The loop waits for each export: about a second for small models, and
    some seconds more the first time, when torch's compiler is loaded.

    A run never resumes from it: it isn't a checkpoint. A `.pt2` of torch 2.9 and newer is a zip
    archive: weights as raw bytes, the program as JSON, and nothing pickled but weights that are of
    a subclass of `Tensor`. `torch.export.load` does unpickle what a file says is pickled: load only
    files that you trust.

    `onnx` needs `pip install 'trackside[onnx]'`.

    Args:
        format: `torch` or `onnx`.
        every: When, beside the end; None exports at the end only. On several ranks, not in seconds.
        at_end: Whether to export when training ends: completed or stopped, not failed.
        file: Name of the file, below the run's folder; None takes `model.pt2` or `model.onnx`.
        weights: Name of a callback whose weights are exported in place of the model's own: averages
            (`ema`, `swa`), or the best ones (`best_checkpoint`), once there are any. None: at the
            end, those that the model has when `fit` returns, such as the mean of `SWA`.
        model: Name of the model, where there are several; None takes the run's first one.
        data: Data that the example is taken from; batches are `(inputs, target)`, tensors, or
            mappings, which the model gets by keyword.
        dynamic_batch: Whether the program takes batches of any size.
        check: Whether outputs are compared. The reference that runs ONNX is slow for large models.
        tolerance: Largest difference of outputs, absolute and relative.
        try_first: Whether it is tried before the first step.

    Raises:
        ConfigurationError: Options that don't fit, or packages for ONNX aren't installed; when
            training starts: there is no such model, or no such weights.
        UsageError: The model can't be traced, torch can't write it in ONNX, or it is spread over
            ranks in shards.
        TracksideError: The program's outputs differ from the model's.
        CheckpointWriteError: The file can't be written; the former one is whole.

    Example:
        >>> ExportModel(weights="ema")  # model.pt2, at the end of training
    """

    effect = "observes"
    writes = ("file",)
    runs_after = ("ema", "swa", "early_stopping", "best_checkpoint")

    def __init__(
        self,
        format: Literal["torch", "onnx"] = "torch",
        every: Schedule | str | None = None,
        *,
        at_end: bool = True,
        file: str | Path | None = None,
        weights: str | None = None,
        model: str | None = None,
        data: str = "train",
        dynamic_batch: bool = True,
        check: bool = True,
        tolerance: float = 1e-4,
        try_first: bool = True,
    ) -> None:
        super().__init__(every)
        if format not in _ENDINGS:
            raise ConfigurationError(
                f"a model can't be exported as {format!r}",
                expected="'torch' or 'onnx'",
                option="format",
            )
        if every is None and not at_end:
            raise ConfigurationError(
                "`ExportModel` would never export",
                expected="a schedule, or at_end=True",
                received="every=None, at_end=False",
                option="at_end",
            )
        self.file = f"model{_ENDINGS[format]}" if file is None else str(local_path(file, "file"))
        outside = Path(self.file).is_absolute() or ".." in self.file
        if outside or not self.file.endswith(_ENDINGS[format]):
            raise ConfigurationError(
                f"file={file!r} isn't a name for the exported model",
                expected=f"a name below the run's folder that ends in {_ENDINGS[format]}",
                option="file",
            )
        if not tolerance > 0:
            raise ConfigurationError(f"tolerance={tolerance} isn't above 0", option="tolerance")
        self._onnx: Any = None
        if format == "onnx":
            optional_package("onnxscript", needed_by="ExportModel", extra="onnx")
            optional_package("onnx.reference", needed_by="ExportModel", extra="onnx")
            self._onnx = optional_package("onnx", needed_by="ExportModel", extra="onnx")
        self.format = format
        self.at_end = at_end
        self.weights = weights
        self.model = model
        self.data = data
        self.dynamic_batch = dynamic_batch
        self.check = check
        self.tolerance = tolerance
        self.try_first = try_first
        self._exported_at: int | None = None
        self._is_over = False

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._exported_at, self._is_over = None, False
        units = () if self.every is None else self.every.units
        if run.world.size > 1 and "seconds" in units:
            raise ScheduleError(
                "`ExportModel` can't go by the clock on several ranks: each has its own",
                expected="a schedule in steps, batches, epochs or samples",
                received=str(self.every),
                option="every",
            )
        model = self._model(run)
        if any(is_sharded(parameter) for parameter in model.parameters()):
            raise UsageError(
                "`ExportModel` can't export a model that is spread over ranks in shards",
                remedy="write the weights with `SaveWeights`, and export them in one process",
            )
        self._check_weights(run)
        if self.try_first:
            example = self._example(run)
            run.world.on_rank_zero(lambda: self._try(model, example))

    def on_due(self, run: Run) -> None:
        self._export(run)

    def on_fit_end(self, run: Run) -> None:
        self._is_over = True
        # Not asked whether the file is new: what runs at the end may have changed the weights.
        if self.at_end:
            self._export(run)
        elif self._exported_at != run.progress.steps_completed:
            super().on_fit_end(run)

    def _try(self, model: nn.Module, example: Batch) -> None:
        traced = trace(host_copy(model), example, dynamic_batch=self.dynamic_batch)
        if self.check:
            compare(traced, traced.program.module(), self.tolerance, "the exported program")
        if self._onnx is not None:
            to_onnx(traced)

    def _export(self, run: Run) -> None:
        path, model, example = run.directory / self.file, self._model(run), self._example(run)
        state = self._state(run)

        def export() -> None:
            traced = trace(host_copy(model, state), example, dynamic_batch=self.dynamic_batch)
            if self.check:
                compare(traced, traced.program.module(), self.tolerance, "the exported program")
            write_whole(path, run.id, lambda file: self._write(traced, file))

        with noted(run, self.file):
            run.world.on_rank_zero(export)
        self._exported_at = run.progress.steps_completed
        logger.info("exported the model to %s", path)

    def _write(self, traced: Traced, file: Path) -> None:
        if self._onnx is None:
            with file.open("wb") as stream:
                torch.export.save(traced.program, stream)
            return
        to_onnx(traced).save(file)
        if self.check:
            answer = run_onnx(file, self._onnx)
            compare(traced, answer, self.tolerance, "the ONNX file")

    # --- what is exported ----------------------------------------------------------------------

    def _model(self, run: Run) -> nn.Module:
        found = run.model if self.model is None else run.models.get(self.model)
        if found is None:
            raise UnknownModelError.among(run.models, self.model, "to export", option="model")
        return found

    def _example(self, run: Run) -> Batch:
        """A few samples on the host. A collective; on several ranks each has its own."""
        if self.data not in run.data:
            raise UnknownDataError.among(
                run.data, self.data, "to trace the model with", option="data"
            )
        with run.data[self.data].aside() as batches:
            first = next(batches, None)
        if first is None:
            raise DataError(f"the data named {self.data!r} is empty")
        return move(
            take(first.data, range(min(samples_in(first.data), SAMPLES))), torch.device("cpu")
        )

    def _check_weights(self, run: Run) -> None:
        if self.weights is None or _has_weights(run.callbacks.get(self.weights)):
            return
        known = [name for name, one in run.callbacks.items() if _has_weights(one)]
        raise ConfigurationError(
            f"`ExportModel` can't export the weights of {self.weights!r}: no such callback has any",
            expected="the name of a callback such as `EMA` or `BestCheckpoint`",
            remedy=did_you_mean(self.weights, known),
            option="weights",
        )

    def _state(self, run: Run) -> Mapping[str, Any] | None:
        """Tensors in the place of the model's own; None for these."""
        model = self._model(run)
        name = next(name for name, one in run.models.items() if one is model)
        if self.weights is None:
            return final_weights(run, name) if self._is_over else None
        source = run.callbacks[self.weights]
        state: Mapping[str, Any] | None = (
            source.best_weights(run, name)
            if isinstance(source, BestCheckpoint)
            else source.weights(model=name)
        )
        return state


def _has_weights(callback: object) -> bool:
    return isinstance(callback, (BestCheckpoint, HasWeights))
