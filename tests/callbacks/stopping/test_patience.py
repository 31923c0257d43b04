from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trackside.callbacks.stopping.patience import Patience

FINITE = st.floats(-1e6, 1e6)


def exhausted_at(patience: Patience, values: list[float]) -> int | None:
    return next((i for i, value in enumerate(values) if patience.judge(value).exhausted), None)


def test_patience_ends_after_so_many_values_without_improvement() -> None:
    assert exhausted_at(Patience("min", 2), [0.5, 0.6, 0.4, 0.5, 0.4, 0.3]) == 4


def test_an_improvement_within_min_delta_does_not_count() -> None:
    assert exhausted_at(Patience("min", 2, min_delta=0.1), [1.0, 0.95, 0.92]) == 2


def test_small_improvements_add_up() -> None:
    assert exhausted_at(Patience("min", 2, min_delta=0.1), [1.0, 0.95, 0.89, 0.84, 0.78]) is None


def test_the_best_value_is_kept_though_it_did_not_count() -> None:
    patience = Patience("min", 9, min_delta=0.1)

    verdicts = [patience.judge(value).improved for value in (1.0, 0.95, 0.97)]

    assert verdicts == [True, True, False]
    assert patience.best == 0.95


def test_larger_is_better_with_max() -> None:
    assert exhausted_at(Patience("max", 1), [0.5, 0.6, 0.55]) == 2


def test_nothing_counts_until_the_baseline_is_beaten() -> None:
    assert exhausted_at(Patience("min", 2, baseline=0.5), [0.9, 0.8, 0.4]) == 1
    assert exhausted_at(Patience("min", 2, baseline=0.5), [0.9, 0.4, 0.3]) is None


def test_a_value_that_is_not_finite_ends_it_at_once() -> None:
    assert not Patience("min", 9).judge(math.nan).finite
    assert not Patience("min", 9).judge(-math.inf).finite


def test_unchecked_nan_is_a_value_without_improvement() -> None:
    assert exhausted_at(Patience("min", 2, check_finite=False), [1.0, math.nan, math.nan]) == 2


@given(st.lists(FINITE, min_size=1), st.integers(1, 4), st.integers(0, 30))
def test_a_broken_wait_goes_on_as_an_unbroken_one(
    values: list[float], limit: int, broken_at: int
) -> None:
    whole, first = Patience("min", limit), Patience("min", limit)
    expected = [whole.judge(value) for value in values]
    found = [first.judge(value) for value in values[:broken_at]]
    second = Patience("min", limit)
    second.load_state_dict(first.state_dict())

    assert found + [second.judge(value) for value in values[broken_at:]] == expected


@given(st.lists(FINITE, min_size=1))
def test_the_best_is_the_smallest_value(values: list[float]) -> None:
    patience = Patience("min", 100)
    for value in values:
        patience.judge(value)

    assert patience.best == min(values)
