from __future__ import annotations

import math
import statistics

import pytest

from trackside.callbacks.stopping.robust import deviations_above


def test_it_counts_in_scaled_median_deviations() -> None:
    before = [1.0, 2.0, 3.0, 4.0, 100.0]  # median 3, absolute deviations 2, 1, 0, 1, 97

    assert deviations_above(3 + 1.4826 * 5, before) == pytest.approx(5)
    assert deviations_above(1.0, before) < 0


def test_of_a_normal_distribution_they_are_standard_deviations() -> None:
    normal = statistics.NormalDist(10, 2)
    before = [normal.inv_cdf((place + 0.5) / 1001) for place in range(1001)]

    assert deviations_above(10 + 3 * 2, before) == pytest.approx(3, abs=0.01)


def test_equal_values_have_a_spread_of_a_thousandth() -> None:
    assert deviations_above(2.02, [2.0] * 5) == pytest.approx(10)
    assert deviations_above(0.0, [0.0] * 5) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_above_all(value: float) -> None:
    assert deviations_above(value, [1.0, 2.0]) == math.inf
