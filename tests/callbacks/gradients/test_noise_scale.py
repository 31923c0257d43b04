"""The estimates of the gradient noise scale are unbiased."""

from __future__ import annotations

import pytest
import torch

from trackside.callbacks.gradients.noise_scale import Smoothed, noise_and_signal


def test_noise_and_signal_solve_the_two_equations() -> None:
    # E|g_B|^2 = signal + noise / B, for B = 2 and 8, with signal 3 and noise 16.
    noise, signal = noise_and_signal(torch.tensor(3 + 16 / 2), torch.tensor(3 + 16 / 8), 2, 8)

    assert noise.item() == pytest.approx(16)
    assert signal.item() == pytest.approx(3)


def test_the_estimates_are_right_on_average() -> None:
    torch.manual_seed(0)
    true, deviation, repeats = torch.tensor([1.0, -2.0]), 3.0, 20_000
    samples = true + deviation * torch.randn(repeats, 8, 2)
    small = samples[:, :2].mean(dim=1).square().sum(dim=1)
    large = samples.mean(dim=1).square().sum(dim=1)

    noise, signal = noise_and_signal(small, large, 2, 8)

    assert noise.mean().item() == pytest.approx(2 * deviation**2, rel=0.05)
    assert signal.mean().item() == pytest.approx(5.0, rel=0.05)


def test_the_smoothed_scale_is_the_ratio_of_the_averages() -> None:
    smoothed = Smoothed(0.5)
    smoothed.add(torch.tensor(4.0), torch.tensor(1.0))
    smoothed.add(torch.tensor(8.0), torch.tensor(3.0))

    assert smoothed.scale.item() == pytest.approx((0.25 * 4 + 0.5 * 8) / (0.25 * 1 + 0.5 * 3))


def test_an_overflow_does_not_spoil_what_comes_after() -> None:
    smoothed = Smoothed(0.5)
    smoothed.add(torch.tensor(float("inf")), torch.tensor(float("nan")))
    smoothed.add(torch.tensor(4.0), torch.tensor(2.0))

    assert smoothed.scale.item() == pytest.approx(2.0)


def test_there_is_no_scale_before_the_first_estimate() -> None:
    with pytest.raises(RuntimeError, match="no estimate yet"):
        _ = Smoothed(0.5).scale
