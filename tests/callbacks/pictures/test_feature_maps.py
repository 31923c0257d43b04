from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.callbacks.pictures.scenes import Tracker, tiny_pictures
from trackside import Callback, Settings
from trackside.callbacks.pictures.feature_maps import FeatureMaps, feature_sheet, outputs_of
from trackside.errors import ConfigurationError, DataError
from trackside.run import Run


def fit(*callbacks: Callback, **options: Any) -> Any:
    task = tiny_pictures()
    settings = Settings(directory="run", device="cpu", **options)
    trainer = task.trainer(callbacks=callbacks, settings=settings)
    return trainer.fit(task.train, task.validation, epochs=1)


def test_every_convolution_has_its_picture() -> None:
    tracker = Tracker()
    fit(tracker, FeatureMaps())

    assert tracker.names == ["val/features/cut"]


@pytest.mark.parametrize("compile", [False, {"backend": "eager"}])
def test_layers_are_chosen_by_pattern_also_in_a_compiled_model(compile: Any) -> None:
    tracker = Tracker()
    result = fit(tracker, FeatureMaps(["n*", "drop"]), compile=compile)

    assert tracker.names == ["val/features/norm", "val/features/drop"]
    assert result.failed_callbacks == {}


def test_no_hook_stays_on_the_model() -> None:
    hooks: list[Any] = []

    class Counts(Callback):
        def on_fit_end(self, run: Run) -> None:
            hooks.extend(h for m in run.model.modules() for h in m._forward_hooks)

    result = fit(FeatureMaps(["head"]), Counts())  # fails: an output of shape (B, C)

    assert result.failed_callbacks == {"feature_maps": 1}
    assert hooks == []


def test_outputs_are_those_of_the_layers() -> None:
    layer = nn.Conv2d(1, 2, 1)
    with outputs_of({"layer": layer}) as found:
        output = layer(torch.rand(1, 1, 3, 3))

    assert found["layer"] is output


def test_a_sheet_has_a_row_per_sample_with_the_input_first() -> None:
    images, maps = torch.rand(2, 1, 4, 4), torch.rand(2, 5, 2, 2)
    sheet = feature_sheet(images, maps, 3, "conv")

    assert sheet.column_labels == ["input", "channel 0", "channel 1", "channel 2"]
    assert np.allclose(sheet.rows[1][0].values, images[1, 0].numpy())
    assert np.array_equal(sheet.rows[1][3].values, maps[1, 2].numpy())
    assert sheet.title == "conv: the first 3 of 5 channels"


def test_inputs_that_are_no_images_are_left_out() -> None:
    sheet = feature_sheet(torch.rand(2, 9), torch.rand(2, 5, 2, 2), 8, "conv")

    assert [len(row) for row in sheet.rows] == [5, 5]
    assert sheet.title == "conv: the first 5 of 5 channels"


@pytest.mark.parametrize("output", [torch.rand(2, 5), (torch.rand(2, 5, 2, 2),)])
def test_an_output_of_another_shape_is_refused(output: Any) -> None:
    with pytest.raises(DataError, match="feature maps"):
        feature_sheet(None, output, 3, "linear")


def test_layers_that_are_not_there_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="there is no layer 'cat'") as raised:
        fit(FeatureMaps(["cat"]))
    assert "did you mean `cut`" in str(raised.value)


def test_no_channel_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="channels=0"):
        FeatureMaps(channels=0)
