"""Histograms of weights and gradients, for trackers and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trackside import Callback, Settings
from trackside.callbacks.gradients.histograms import Histograms
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.tracking.media import Histogram


class Tracker(Callback):
    def __init__(self) -> None:
        self.seen: dict[tuple[int, str], Histogram] = {}

    def on_histogram(self, run: Run, name: str, histogram: Histogram) -> None:
        self.seen[run.progress.steps_completed, name] = histogram


def fit(*callbacks: Callback) -> Any:
    task = tiny_regression()
    trainer = task.trainer(callbacks=callbacks, settings=Settings(directory="run"))
    return trainer.fit(task.train, epochs=2)


def test_trackers_get_weights_and_gradients_of_the_steps_that_are_due() -> None:
    tracker = Tracker()
    fit(Histograms("4 steps"), tracker)

    assert list(tracker.seen) == [
        (3, "parameters/weight"),
        (3, "gradients/weight"),
        (3, "parameters/bias"),
        (3, "gradients/bias"),
    ]
    assert tracker.seen[3, "parameters/weight"].counts.sum() == 2


def test_files_hold_counts_and_edges() -> None:
    fit(Histograms("3 steps", patterns=["weight"], gradients=False, bins=5))

    files = sorted(Path("run/histograms").iterdir())
    assert [file.name for file in files] == ["step-0000000003.npz", "step-0000000006.npz"]
    with np.load(files[0], allow_pickle=False) as arrays:
        assert set(arrays) == {"parameters/weight/counts", "parameters/weight/edges"}
        assert arrays["parameters/weight/counts"].shape == (5,)


def test_without_files_nothing_is_written() -> None:
    fit(Histograms("2 steps", files=False))

    assert [path.name for path in Path("run").iterdir()] == ["run.json"]  # which run it is


def test_a_disk_that_fails_does_not_end_training() -> None:
    Path("run").write_text("a file where the folder should be")
    result = fit(Histograms("2 steps"))

    assert result.outcome.step == 6
    assert result.failed_callbacks == {"histograms": 3}


def test_weights_are_left_as_they_are() -> None:
    def weights(*callbacks: Callback) -> torch.Tensor:
        task = tiny_regression()
        task.trainer(callbacks=callbacks).fit(task.train, epochs=2)
        return task.weights

    assert torch.equal(weights(Histograms("1 step", files=False)), weights())


@pytest.mark.parametrize("options", [{"bins": 0}, {"parameters": False, "gradients": False}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Histograms(**options)
