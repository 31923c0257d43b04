"""Predictions as files: NumPy arrays by name, or a table with one row per sample."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from trackside.data.batches import describe
from trackside.errors import ConfigurationError, DataError
from trackside.run_folder.inside import write_inside

FileFormat = Literal["npz", "parquet"]


def arrays(value: Any, name: str = "") -> dict[str, Any]:
    """Predictions as arrays by name: mappings, lists and tuples are taken apart, `name.part`.

    Args:
        value: Tensors on the host, arrays, numbers and texts, in containers; None is left out.
        name: Name of the whole; without one, it is `prediction`, and parts have names of their own.

    Raises:
        DataError: Something in it isn't an array.
    """
    if value is None:
        return {}
    if isinstance(value, Tensor):
        kept = value.float() if value.dtype == torch.bfloat16 else value
        return {name or "prediction": kept.detach().numpy()}
    if isinstance(value, (Mapping, list, tuple)):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        found: dict[str, Any] = {}
        for key, part in parts:
            found |= arrays(part, f"{name}.{key}" if name else str(key))
        return found
    array = np.asarray(value)
    if array.dtype.hasobject:  # it would be pickled
        raise DataError(
            f"predictions of type {type(value).__name__} can't be written to a file",
            expected="tensors, arrays, numbers and texts, in mappings and lists",
            received=describe(value),
            remedy="return such from `predict_step`",
        )
    return {name or "prediction": array}


def rows(value: Any) -> list[Any]:
    """One entry per sample: a number, a text, or the list of an array of more dimensions.

    Args:
        value: A tensor with samples along its first dimension, or a list over batches of such.

    Raises:
        DataError: It isn't a column but, say, a mapping.
    """
    if isinstance(value, (list, tuple)):
        return [row for batch in value for row in rows(batch)]
    if value is None or isinstance(value, Mapping):
        raise DataError(
            "predictions without rows can't be written as a table",
            expected="tensors with samples along their first dimension, by name",
            received=describe(value),
            remedy="file_format='npz' takes any mappings and lists of arrays",
        )
    [array] = arrays(value).values()
    if array.ndim == 0:
        return [array.item()]
    return list(array) if array.ndim == 1 else array.reshape(len(array), -1).tolist()


def write(folder: Path, name: str, predictions: Mapping[str, Any], file_format: FileFormat) -> Path:
    """Write a file of predictions, whole; `OSError` where that fails.

    Args:
        folder: The run's folder.
        name: Of the file, below it.
        predictions: By name; joined, or lists over batches.
        file_format: `npz`, or `parquet` with one row per sample.
    """
    if file_format == "npz":
        columns = arrays(predictions)
        return write_inside(folder, name, lambda stream: _put_arrays(stream, columns))
    arrow, parquet = pyarrow()
    table = arrow.table({part: rows(value) for part, value in predictions.items()})

    def put(stream: BinaryIO) -> None:
        parquet.write_table(table, stream)

    return write_inside(folder, name, put)


def _put_arrays(stream: BinaryIO, columns: Mapping[str, Any]) -> None:
    """As `numpy.savez`, which takes the names as arguments: no array can be `file` there."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def pyarrow() -> tuple[Any, Any]:
    """The packages that write parquet.

    Raises:
        ConfigurationError: They are not installed.
    """
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "saving predictions as parquet needs the package pyarrow, which is not installed",
            remedy="pip install 'trackside[parquet]', or file_format='npz'",
            option="file_format",
        ) from error
    return arrow, parquet
