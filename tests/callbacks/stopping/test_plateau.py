from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trackside.callbacks.stopping.plateau import Plateau


def test_two_windows_are_needed_before_anything_is_known() -> None:
    plateau = Plateau(2, "min")

    assert [plateau.add(value) for value in (1.0, 1.0, 0.5)] == [None, None, None]
    assert plateau.add(0.5) == 0.5


def test_larger_is_an_improvement_with_max() -> None:
    plateau = Plateau(1, "max")
    plateau.add(2.0)

    assert plateau.add(3.0) == 0.5


def test_values_around_zero_are_no_division_by_zero() -> None:
    plateau = Plateau(1, "min")

    assert [plateau.add(value) for value in (0.0, 0.0, -1.0)] == [None, 0, math.inf]


def test_nan_is_no_improvement() -> None:
    plateau = Plateau(1, "min")
    plateau.add(1.0)

    assert plateau.add(math.nan) == -math.inf


@given(st.floats(0.1, 10), st.integers(1, 5))
def test_a_constant_series_has_not_improved(value: float, window: int) -> None:
    plateau = Plateau(window, "min")
    improved = [plateau.add(value) for _ in range(3 * window)]

    assert all(abs(i) < 1e-12 for i in improved if i is not None)
    assert improved.count(None) == 2 * window - 1
