"""Predictions of any structure become files, or are refused before much was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trackside.callbacks.evaluation.prediction_files import arrays, write
from trackside.errors import DataError

RAGGED = [torch.zeros(2, 3), torch.ones(1, 5)]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (torch.zeros(3), ["prediction"]),
        ({"logits": torch.zeros(3), "none": None}, ["logits"]),
        ((torch.zeros(3), torch.zeros(2)), ["0", "1"]),
        ({"prediction": RAGGED}, ["prediction.0", "prediction.1"]),
        ({"boxes": [{"xy": torch.zeros(4)}]}, ["boxes.0.xy"]),
        (["a", "b"], ["0", "1"]),
        (torch.zeros(2, dtype=torch.bfloat16), ["prediction"]),
        (torch.zeros(2, requires_grad=True), ["prediction"]),
    ],
)
def test_containers_are_taken_apart_by_name(value: Any, names: list[str]) -> None:
    assert list(arrays(value)) == names


def test_double_precision_is_kept() -> None:
    assert arrays(torch.zeros(2, dtype=torch.float64))["prediction"].dtype == np.float64


def test_objects_are_refused() -> None:
    with pytest.raises(DataError, match="of type object can't be written"):
        arrays({"prediction": [object()]})


def test_a_table_has_a_row_per_sample_also_where_shapes_differ(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = {"prediction": RAGGED, "target": torch.arange(3), "name": [["a", "b"], ["c"]]}
    table = parquet.read_table(write(tmp_path, "a.parquet", found, "parquet"))
    assert table["prediction"].to_pylist() == [[0.0] * 3, [0.0] * 3, [1.0] * 5]
    assert table["target"].to_pylist() == [0, 1, 2]
    assert table["name"].to_pylist() == ["a", "b", "c"]


def test_a_table_of_what_has_no_rows_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="npz"):
        write(tmp_path, "a.parquet", {"boxes": [{"xy": torch.zeros(4)}]}, "parquet")


def test_an_array_may_have_any_name(tmp_path: Path) -> None:
    names = ["file", "allow_pickle", "self", "a b"]
    found = {name: torch.full((2,), float(number)) for number, name in enumerate(names)}
    loaded = np.load(write(tmp_path, "a.npz", found, "npz"))

    assert {name: loaded[name].tolist() for name in loaded} == {
        name: [float(number)] * 2 for number, name in enumerate(names)
    }
