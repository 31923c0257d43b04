"""GradientNoise compares the first batch of a step with the step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from tests.callbacks.broken_runs import check_resumes_exactly
from trackside import Callback, Settings, Trainer
from trackside.callbacks.gradients.gradient_noise import GradientNoise
from trackside.callbacks.gradients.noise_scale import Smoothed, noise_and_signal
from trackside.errors import ConfigurationError, UsageError
from trackside.testing import tiny_regression

DATA = torch.randn(24, 3, generator=torch.Generator().manual_seed(1)) + 1


class Dot(nn.Module):
    """Its gradient is the mean of the inputs, whatever the weights are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def fit(noise: GradientNoise, batches: list[Tensor], **options: Any) -> Any:
    trainer = Trainer(
        Dot(),
        loss=lambda prediction, target: prediction.mean(),
        optimizer=lambda p: SGD(p, lr=0.1),
        callbacks=[noise],
        defaults=False,
        accumulate=options.pop("accumulate", 3),
        settings=Settings(log_every="1 step"),
        **options,
    )
    return trainer.fit([(batch, batch) for batch in batches], epochs=1).history


def by_hand(smoothing: float) -> list[float]:
    smoothed, scales = Smoothed(smoothing), []
    for step in DATA.double().split(12):
        small = step[:4].mean(dim=0).square().sum()
        smoothed.add(*noise_and_signal(small, step.mean(dim=0).square().sum(), 4, 12))
        scales.append(smoothed.scale.item())
    return scales


def test_the_scale_is_the_one_computed_by_hand() -> None:
    history = fit(GradientNoise(smoothing=0.5), list(DATA.split(4)))

    assert history.values("grad/noise_scale") == pytest.approx(by_hand(0.5), rel=1e-4)


def test_clipping_does_not_change_it() -> None:
    history = fit(GradientNoise(smoothing=0.5), list(DATA.split(4)), clip=1e-3)

    assert history.values("grad/noise_scale") == pytest.approx(by_hand(0.5), rel=1e-4)


def test_steps_with_fewer_or_smaller_batches_tell_nothing() -> None:
    batches = [*DATA.split(4), DATA[:4]]  # a third step of one batch
    batches[4] = batches[4][:2]  # and a second one with a smaller batch
    history = fit(GradientNoise(smoothing=0.0), batches)

    assert [step for step, _ in history.points("grad/noise_scale")] == [1]


def test_a_resumed_run_has_the_averages_of_the_unbroken_one() -> None:
    task = tiny_regression(samples=16)

    def make(more: list[Callback]) -> Trainer:
        noise = GradientNoise("2 steps")
        settings = Settings(log_every="1 step")
        return tiny_regression().trainer(callbacks=[noise, *more], accumulate=2, settings=settings)

    check_resumes_exactly(make, lambda trainer: trainer.fit(task.train, epochs=3))


def test_it_needs_accumulation() -> None:
    with pytest.raises(UsageError, match="at least two batches per step"):
        fit(GradientNoise(), list(DATA.split(4)), accumulate=1)


@pytest.mark.cpu("a parameter's class is lost where the model is moved")
def test_the_gradients_of_sharded_parameters_are_refused() -> None:
    class Sharded(nn.Parameter):
        device_mesh = None  # as a DTensor has

    class Model(Dot):
        def __init__(self) -> None:
            super().__init__()
            self.weight = Sharded(torch.zeros(3))

    task = tiny_regression()
    trainer = task.trainer(callbacks=[GradientNoise()], accumulate=2)
    trainer.model = Model()
    with pytest.raises(UsageError, match="sharded gradients can't be estimated"):
        trainer.fit(task.train, steps=1)


def test_a_smoothing_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        GradientNoise(smoothing=1.0)
