from __future__ import annotations

from typing import Any

import pytest
import torch

from trackside import Run, Trainer
from trackside.callbacks.evaluation.track_outputs import TrackOutputs, flat
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression


class TwoLosses(Trainer):
    def training_step(self, run: Run, batch: Any) -> Any:
        inputs, target = batch
        error = run.model(inputs) - target
        square, size = error.square().mean(), error.abs().mean()
        return {"loss": square + size, "losses": {"square": square, "size": size}}


def fit(callback: TrackOutputs) -> Any:
    task = tiny_regression(samples=8, batch_size=4)
    trainer = TwoLosses(
        task.model, optimizer=task.optimizer, defaults=False, callbacks=[callback], seed=0
    )
    return trainer.fit(task.train, epochs=2).history


def test_outputs_are_found_by_pattern_and_averaged() -> None:
    history = fit(TrackOutputs(["losses.*"]))

    parts = [history.values(f"output/losses.{name}") for name in ("square", "size")]
    sums = [square + size for square, size in zip(*parts, strict=True)]
    assert sums == pytest.approx(history.values("train/loss"), rel=1e-6)
    assert "output/loss" not in history.names


def test_the_last_output_is_logged_when_it_is_due() -> None:
    history = fit(TrackOutputs(["loss"], reduce="last", every="1 epoch"))
    assert len(history.values("output/loss")) == 2


def test_a_bare_loss_has_its_name() -> None:
    assert list(flat(torch.tensor(2.0))) == [("loss", torch.tensor(2.0))]


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="doesn't exist"):
        TrackOutputs(["loss"], reduce="sum")  # type: ignore[arg-type]
