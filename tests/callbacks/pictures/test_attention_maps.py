from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.callbacks.pictures.scenes import Tracker, tiny_pictures
from trackside import Callback, Settings
from trackside.callbacks.pictures.attention_maps import AttentionMaps, attention_sheet
from trackside.errors import ConfigurationError
from trackside.testing import tiny_classification


def fit(*callbacks: Callback, **options: Any) -> Any:
    task = tiny_pictures()
    settings = Settings(directory="run", device="cpu", **options)
    trainer = task.trainer(callbacks=callbacks, settings=settings)
    return trainer.fit(task.train, task.validation, epochs=1)


@pytest.mark.parametrize("compile", [False, {"backend": "eager"}])
def test_each_sample_has_its_picture_also_of_a_compiled_model(compile: Any) -> None:
    tracker = Tracker()
    result = fit(tracker, AttentionMaps(count=2), compile=compile)

    assert tracker.names == ["val/attention/0", "val/attention/1"]
    assert result.failed_callbacks == {}


def test_a_sheet_has_a_row_per_layer_and_a_column_per_head() -> None:
    weights = {"a": torch.rand(4, 3, 5), "b": torch.rand(2, 3, 5)}
    sheet = attention_sheet(weights, 3, "attention")

    assert [len(row) for row in sheet.rows] == [3, 2]
    assert sheet.row_labels == ["a", "b"]
    assert sheet.column_labels == ["head 0", "head 1", "head 2"]
    assert np.array_equal(sheet.rows[1][1].values, weights["b"][1].numpy())
    assert sheet.rows[0][2].caption == f"max {float(weights['a'][2].max()):.2f}"


def test_a_model_that_does_not_attend_is_told(caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_classification()
    task.trainer(callbacks=[AttentionMaps()]).fit(task.train, task.validation, epochs=1)

    assert "no layer of the model attends" in caplog.text


def test_layers_of_other_names_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    fit(AttentionMaps(["decoder.*"]))

    assert "in layers named decoder.*" in caplog.text


def test_no_head_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="heads=0"):
        AttentionMaps(heads=0)
