"""`SavePredictions`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch

from trackside.callbacks.evaluation.prediction_files import FileFormat, arrays, pyarrow, write
from trackside.data.batches import move
from trackside.errors import ConfigurationError, DataError
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.run_folder.inside import new_folder_inside
from trackside.schedule import Schedule
from trackside.step.evaluation import PREDICT, EvaluationCallback
from trackside.step.output import split
from trackside.tracking.schedule_ledger import noted

_EVERY = "1 epoch"


@final
class SavePredictions(EvaluationCallback):
    """Writes the predictions for a data set to a file, in the order of the data.

    Warns of a loader that shuffles or leaves samples out: row i is not sample i then. Predicts with
    the weights that an evaluation of the data sees: averages, where an `EMA` puts them in.

    Files are `<folder>/<data>-step-0000001200.npz` in the run's folder, with the arrays
    `prediction` and, where batches have one, `target`; a prediction that is a mapping gives one
    array per key (its own `target`, beside that of the batch, is `prediction.target`). Where shapes
    differ from batch to batch, arrays are numbered by their batch: `prediction.0`. Rank 0 writes
    what all ranks predicted.

    `SavePredictions("predict")` writes what `Trainer.predict` predicts, as it is made: a file per
    batch, each by the rank that predicted it, numbered in the order of the data:
    `<folder>/predict/000000000.npz`. With `trainer.predict(data, keep=False)` nothing is kept in
    memory. A further prediction into the same run's folder gets a folder `predict-2`.

    Args:
        data: Name of the data; `predict` for that of `Trainer.predict`.
        every: When; not for `predict`.
        file_format: `npz` (NumPy), or `parquet` with one row per sample (needs pyarrow; arrays of
            more than one dimension become lists).
        folder: Below the run's folder.

    Raises:
        ConfigurationError: No such format, or pyarrow is missing; or a schedule for `predict`.
        DataError: During a pass: a prediction isn't an array.

    Example:
        >>> SavePredictions("test", every="10 epochs")
    """

    effect = "observes"
    writes = ("folder",)
    keeps_order = True

    def __init__(
        self,
        data: str = "val",
        every: Schedule | str = _EVERY,
        file_format: FileFormat = "npz",
        folder: str | Path = "predictions",
    ) -> None:
        self._of_predict = data == PREDICT
        super().__init__(data, None if self._of_predict else every)
        if self._of_predict and every != _EVERY:
            raise ConfigurationError(
                f"every={every!r} has no effect: each batch of a prediction is written",
                remedy="leave `every` out",
                option="every",
            )
        if file_format not in ("npz", "parquet"):
            raise ConfigurationError(
                f"predictions can't be saved as {file_format!r}",
                expected="'npz' or 'parquet'",
                option="file_format",
            )
        if file_format == "parquet":
            pyarrow()
        self.file_format = file_format
        self.folder = str(local_path(folder, "folder"))
        self.last: Path | None = None
        """The file written last, on rank 0; of a prediction, the folder, on all ranks."""
        self._number = 0

    def idle_hooks(self) -> frozenset[str]:
        """Those of a prediction, or those of a training."""
        if self._of_predict:
            return super().idle_hooks() | {"on_fit_start", "on_fit_end"}
        return super().idle_hooks() | {"on_predict_start", "on_predict_batch_end"}

    def process_batch(self, run: Run, batch: Any) -> dict[str, Any]:
        """Predictions and target of the batch, by name."""
        return _by_name(batch, run.steps.predict_step(run, batch))

    def process_results(self, run: Run, results: Any) -> None:
        """Write one file."""
        if run.world.is_global_zero:
            name = f"{self.data}-step-{run.progress.steps_completed:010d}"
            with noted(run, name):
                self.last = self._write(run, Path(self.folder) / name, _by_batch(results))

    def on_predict_start(self, run: Run) -> None:
        """Make a new folder."""
        folder = Path(self.folder)
        if run.world.is_global_zero:
            self.last = new_folder_inside(run.directory, folder / PREDICT)
        name = run.world.broadcast("" if self.last is None else self.last.name)
        self.last = run.directory / folder / name
        self._number = run.world.rank

    def on_predict_batch_end(self, run: Run, batch: Any, prediction: Any) -> None:
        """Write the predictions of one batch."""
        assert self.last is not None  # made when the prediction began
        name = Path(self.folder) / self.last.name / f"{self._number:09d}"
        self._write(run, name, _by_name(batch, prediction))
        self._number += run.world.size  # batches are dealt out in turn

    def _write(self, run: Run, name: Path, predictions: Mapping[str, Any]) -> Path:
        return write(run.directory, f"{name}.{self.file_format}", predictions, self.file_format)


def _by_name(batch: Any, prediction: Any) -> dict[str, Any]:
    """Prediction and target, on the host, and refused where no file can hold them."""
    found = dict(prediction) if isinstance(prediction, Mapping) else {"prediction": prediction}
    try:
        target = split(batch)[1]
    except DataError:
        pass  # data without a target has predictions all the same
    else:
        if "target" in found:
            found["prediction.target"] = found["target"]
        found["target"] = target
    kept: dict[str, Any] = move(found, torch.device("cpu"))
    arrays(kept)
    return {name: value for name, value in kept.items() if value is not None}


def _by_batch(results: Any) -> dict[str, Any]:
    """Predictions by name, also where the names differ from batch to batch."""
    if isinstance(results, Mapping):
        return dict(results)
    return {str(number): part for number, part in enumerate(results)}
