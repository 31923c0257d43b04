"""`SavePredictions`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from torch import Tensor

from trackside.errors import ConfigurationError, DataError
from trackside.paths import local_path
from trackside.run import Run
from trackside.run_folder.inside import folder_inside, unlinked
from trackside.schedule import Schedule
from trackside.step.evaluation import EvaluationCallback
from trackside.step.output import split


@final
class SavePredictions(EvaluationCallback):
    """Writes the predictions for a data set to a file, in the order of the data.

    Files are `<folder>/<data>-step-0000001200.npz` in the run's folder, with the arrays
    `prediction` and, where batches have one, `target`; a prediction that is a mapping gives one
    array per key. Rank 0 writes what all ranks predicted.

    Args:
        data: Name of the data.
        every: When.
        file_format: `npz` (NumPy), or `parquet` with one row per sample (needs pyarrow; arrays of
            more than one dimension become lists).
        folder: Below the run's folder.

    Raises:
        ConfigurationError: No such format, or pyarrow is missing.

    Example:
        >>> SavePredictions("test", every="10 epochs")
    """

    writes = ("folder",)

    def __init__(
        self,
        data: str = "val",
        every: Schedule | str = "1 epoch",
        file_format: Literal["npz", "parquet"] = "npz",
        folder: str = "predictions",
    ) -> None:
        super().__init__(data, every)
        if file_format not in ("npz", "parquet"):
            raise ConfigurationError(
                f"predictions can't be saved as {file_format!r}",
                expected="'npz' or 'parquet'",
                option="file_format",
            )
        if file_format == "parquet":
            _pyarrow()
        self.file_format = file_format
        self.folder = str(local_path(folder, "folder"))
        self.last: Path | None = None
        """The file written last, on rank 0."""

    def process_batch(self, run: Run, batch: Any) -> dict[str, Tensor]:
        """Predictions and target of the batch, by name."""
        prediction = run.steps.predict_step(run, batch)
        found = dict(prediction) if isinstance(prediction, Mapping) else {"prediction": prediction}
        try:
            found["target"] = split(batch)[1]
        except DataError:
            pass  # data without a target has predictions all the same
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def process_results(self, run: Run, results: Any) -> None:
        """Write one file."""
        if not run.world.is_global_zero:
            return
        folder = folder_inside(run.directory, self.folder)
        name = f"{self.data}-step-{run.progress.steps_completed:010d}.{self.file_format}"
        arrays = {key: value.float() if value.is_floating_point() else value
                  for key, value in results.items()}  # fmt: skip
        columns = {key: value.numpy() for key, value in arrays.items()}
        self.last = unlinked(folder / name)
        if self.file_format == "npz":
            np.savez(self.last, **columns)
        else:
            pyarrow, parquet = _pyarrow()
            rows = {
                key: list(value) if value.ndim == 1 else value.reshape(len(value), -1).tolist()
                for key, value in columns.items()
            }
            parquet.write_table(pyarrow.table(rows), self.last)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "saving predictions as parquet needs the package pyarrow, which is not installed",
            remedy="pip install 'trackside[parquet]', or file_format='npz'",
            option="file_format",
        ) from error
    return pyarrow, parquet
