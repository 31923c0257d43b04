from __future__ import annotations

import sys
from typing import Any

import pytest

from trackside.callbacks.reporting.dvclive import DVCLive
from trackside.callbacks.reporting.mlflow import MLflow
from trackside.callbacks.reporting.tensorboard import TensorBoard
from trackside.callbacks.reporting.trackio import Trackio
from trackside.callbacks.reporting.wandb import WandB
from trackside.errors import ConfigurationError
from trackside.imports.extras import optional_package


def test_a_package_that_is_there_is_given() -> None:
    import json

    assert optional_package("json", needed_by="X", extra="x") is json


@pytest.mark.parametrize(
    ("callback", "module", "extra"),
    [
        (TensorBoard, "torch.utils.tensorboard", "tensorboard"),
        (WandB, "wandb", "wandb"),
        (MLflow, "mlflow", "mlflow"),
        (Trackio, "trackio", "trackio"),
        (DVCLive, "dvclive.live", "dvclive"),
    ],
)
def test_a_missing_package_is_told_when_the_callback_is_made(
    callback: Any, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigurationError, match=rf"pip install 'trackside\[{extra}\]'"):
        callback()
