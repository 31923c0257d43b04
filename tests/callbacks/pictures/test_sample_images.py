"""The same noise every time: two pictures differ by what was learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.callbacks.pictures.scenes import Tracker, tiny_pictures
from trackside import Callback, Settings
from trackside.callbacks.pictures.sample_images import SampleImages
from trackside.errors import ConfigurationError, UnknownModelError
from trackside.run import Run
from trackside.testing import tiny_classification


def fit(*callbacks: Callback, lr: float = 0.01, **options: Any) -> Any:
    task = tiny_pictures()
    trainer = task.trainer(
        callbacks=callbacks,
        optimizer=lambda p: torch.optim.SGD(p, lr=lr),
        settings=Settings(directory="run"),
    )
    return trainer.fit(task.train, epochs=2)


def test_a_model_that_learns_nothing_draws_the_same_again() -> None:
    tracker = Tracker()
    fit(tracker, SampleImages(), lr=0.0)
    (_, first), (_, second) = tracker.shown

    assert tracker.names == ["model/samples"] * 2
    # But for the title, which tells the step.
    assert np.array_equal(first.pixels[60:], second.pixels[60:])


def test_what_was_learnt_is_seen() -> None:
    tracker = Tracker()
    fit(tracker, SampleImages(value_range=[-1, 1]), lr=0.5)
    (_, first), (_, second) = tracker.shown

    assert not np.array_equal(first.pixels[60:], second.pixels[60:])


def test_another_seed_draws_something_else() -> None:
    one, other = Tracker(), Tracker()
    fit(one, SampleImages(seed=0), lr=0.0)
    fit(other, SampleImages(seed=1), lr=0.0)

    assert not np.array_equal(one.shown[0][1].pixels[60:], other.shown[0][1].pixels[60:])


def test_a_function_of_noise_gets_noise_of_the_shape_that_was_given() -> None:
    seen = []

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 24)

        def forward(self, noise: torch.Tensor) -> torch.Tensor:
            seen.append(noise)
            return self.layer(noise)

    class Both(Callback):
        def on_fit_start(self, run: Run) -> None:
            run.models = {**run.models, "generator": Generator().to(run.device)}

    tracker = Tracker()
    fit(tracker, Both(), SampleImages(count=3, latent=[5], model="generator", shape=[4, 6]))

    assert tracker.names == ["generator/samples"] * 2
    assert [noise.shape for noise in seen] == [(3, 5)] * 2
    assert torch.equal(*seen)


def test_a_model_that_draws_nothing_is_refused_with_what_is_missing() -> None:
    task = tiny_classification()
    with pytest.raises(ConfigurationError, match="has no method 'sample'"):
        task.trainer(callbacks=[SampleImages()]).fit(task.train, epochs=1)


def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownModelError, match="there is no model named 'generater'"):
        fit(SampleImages(model="generater"))


@pytest.mark.parametrize("options", [{"count": 0}, {"latent": [0]}, {"seed": -1}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SampleImages(**options)
