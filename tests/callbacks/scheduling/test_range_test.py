"""The parts of a range test that need no run."""

from __future__ import annotations

import math

import pytest

from trackside.callbacks.scheduling.range_test import (
    growing,
    shares_of_rates,
    smoothed,
    steepest,
)


def test_rates_grow_by_the_same_factor() -> None:
    assert growing(1e-4, 1e-1, 4) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


def test_smoothing_is_not_held_back_by_its_beginning() -> None:
    assert smoothed([5.0, 5.0, 5.0], 0.9) == pytest.approx([5.0, 5.0, 5.0])
    assert smoothed([2.0, 4.0], 0.5) == pytest.approx([2.0, (0.5 * 1.0 + 0.5 * 4.0) / 0.75])


def test_the_steepest_point_lies_on_the_way_down() -> None:
    rates = growing(1e-5, 1e-1, 9)
    losses = [1.0, 1.0, 0.95, 0.8, 0.4, 0.3, 0.3, 0.9, 0.1 + 3]

    assert steepest(rates, losses) == rates[3]


def test_a_fall_after_the_lowest_loss_does_not_count() -> None:
    rates = growing(1e-5, 1e-1, 7)

    assert steepest(rates, [1.0, 0.9, 0.5, 3.0, 9.0, 2.0, 1.0]) == rates[1]


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, 0.5]])
def test_a_loss_that_never_falls_suggests_nothing(losses: list[float]) -> None:
    assert steepest(growing(1e-3, 1e-1, max(len(losses), 2))[: len(losses)], losses) is None


def test_the_slope_is_taken_over_the_logarithm() -> None:
    # Equal falls per factor of ten: on a linear axis the first would be by far the steepest.
    rates, losses = growing(1e-6, 1e-2, 5), [5.0, 4.0, 3.0, 1.5, 1.0]

    found = steepest(rates, losses)
    assert found is not None
    assert math.isclose(found, rates[2])


@pytest.mark.parametrize(
    ("groups", "shares"),
    [
        ([{"lr": 0.1}, {"lr": 0.2}], [0.5, 1.0]),
        ([{"lr": 0.0, "initial_lr": 0.3}, {"lr": 0.2, "initial_lr": 0.2}], [0.0, 1.0]),
        ([{"lr": 0.0, "initial_lr": 0.1}, {"lr": 0.0, "initial_lr": 0.4}], [0.25, 1.0]),
        ([{"lr": 0.0}, {"lr": 0.0}], [1.0, 1.0]),
    ],
)
def test_groups_share_the_rate_as_they_do_now_or_after_a_warm_up(
    groups: list[dict[str, float]], shares: list[float]
) -> None:
    assert shares_of_rates(groups) == pytest.approx(shares)
