"""Callbacks that Noether ships, taken by `kind` from Trackside's own file where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trackside.config import load
from trackside.lifecycle.collection import snake_case

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

FILE = """
data: {train: {kind: trackside.testing.tiny_rows}, val: {kind: trackside.testing.tiny_rows}}
model: {kind: tests.dialects.test_noether_originals.make_model}
loss: mse
optimizer: {kind: sgd, lr: 0.1}
trainer: {epochs: 3, defaults: false, device: cpu}
callbacks:
"""
EACH = {"every_n_epochs": 1}
RUN_HERE: dict[str, dict[str, Any]] = {
    "CheckpointCallback": EACH,
    "BestCheckpointCallback": {**EACH, "metric_key": "val/loss"},
    "BestMetricCallback": {
        **EACH,
        "source_metric_key": "val/loss",
        "target_metric_keys": ["train/loss"],
    },
    "MetricEarlyStopper": {**EACH, "metric_key": "val/loss", "tolerance": 1},
    "FixedEarlyStopper": {"stop_at_epoch": 1},
    "TrackAdditionalOutputsCallback": {**EACH, "keys": ["prediction"]},
    "PeakMemoryCallback": EACH,
    "OnlineLossCallback": {**EACH, "verbose": True},
    "TrainTimeCallback": EACH,
    "ParamCountCallback": {},
    "DatasetStatsCallback": {},
    "LrCallback": EACH,
    "ProgressCallback": EACH,
    "EtaCallback": EACH,
    "EmaCallback": {"every_n_updates": 1, "target_factors": [0.9]},
}


@pytest.fixture(autouse=True)
def noether() -> Any:
    return pytest.importorskip("noether.core.callbacks")


def make_model() -> nn.Module:
    """A model of Noether's own kind."""
    models = pytest.importorskip("noether.core.models")
    schemas = pytest.importorskip("noether.core.schemas.models")

    class Linear(models.Model):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(schemas.ModelBaseConfig(kind="Linear", name="linear"))
            self.layer = nn.Linear(2, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(inputs)
            return found

    torch.manual_seed(0)
    return Linear()


def run(*entries: tuple[str, dict[str, Any]]) -> Any:
    text = FILE
    for name, options in entries:
        text += f"  - kind: noether.core.callbacks.{name}\n"
        text += "".join(f"    {key}: {json.dumps(value)}\n" for key, value in options.items())
    Path("run.yaml").write_text(text)
    return load("run.yaml").run("run")


@pytest.mark.parametrize("name", RUN_HERE)
def test_their_own_class_is_made_and_runs(name: str, noether: Any) -> None:
    finished = run((name, RUN_HERE[name]))

    found = finished.trainer.callbacks[snake_case(name)]
    assert type(found) is getattr(noether, name)
    assert found.model is finished.trainer.models["model"]


def test_the_fixed_stopper_stops_where_it_says() -> None:
    assert run(("FixedEarlyStopper", {"stop_at_epoch": 1})).result.outcome.step == 1


def test_the_best_weights_are_written_where_the_value_is_best() -> None:
    finished = run(("BestCheckpointCallback", {**EACH, "metric_key": "val/loss"}))

    best = finished.trainer.callbacks["best_checkpoint_callback"]
    assert best.best_metric_value == min(finished.result.history.values("val/loss"))
