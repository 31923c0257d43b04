"""Curves are functions of the position."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.callbacks.scheduling.curves import SHAPES, Curve
from trackside.errors import ConfigurationError


def at(positions: list[float], *arguments: Any, **options: Any) -> list[float]:
    curve = Curve(*arguments, **options)
    return [curve.at(position) for position in positions]


def test_a_constant_is_one() -> None:
    assert at([0, 7], "constant", 0.3) == [0.3, 0.3]


def test_a_line_leads_from_start_to_end_after_its_beginning() -> None:
    values = at([0, 10, 15, 20, 99], "linear", 1.0, 0.0, begin=10, length=10)

    assert values == [1.0, 1.0, 0.5, 0.0, 0.0]


def test_a_log_linear_way_multiplies_by_the_same_factor() -> None:
    assert at([0, 1, 2], "log_linear", 1e-2, 1e-4, length=2) == pytest.approx([1e-2, 1e-3, 1e-4])


def test_a_cosine_is_flat_at_both_ends() -> None:
    values = at([0, 1, 2, 4], "cosine", 1.0, 0.0, length=4)

    assert values == pytest.approx([1.0, (1 + math.cos(math.pi / 4)) / 2, 0.5, 0.0])


def test_steps_multiply_after_each_period() -> None:
    values = at([0, 4, 5, 14, 15], "step", 8.0, begin=5, period=5, factor=0.5)

    assert values == [8.0, 8.0, 8.0, 4.0, 2.0]


def test_milestones_multiply_where_they_stand() -> None:
    assert at([2, 3, 9, 10], "multi_step", 1.0, factor=0.1, milestones=(3, 10)) == pytest.approx(
        [1.0, 0.1, 0.1, 0.01]
    )


@given(
    st.sampled_from(["linear", "log_linear", "cosine"]),
    st.floats(1e-6, 1e6),
    st.floats(1e-6, 1e6),
    st.floats(0.001, 1e6),
    st.floats(0, 2e6),
)
def test_a_way_never_leaves_what_lies_between_its_ends(
    shape: Any, start: float, end: float, length: float, position: float
) -> None:
    value = Curve(shape, start, end, length=length).at(position)

    slack = 1e-9 * max(start, end)
    assert min(start, end) - slack <= value <= max(start, end) + slack


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "constant"])
def test_a_shape_without_its_options_is_refused(shape: Any) -> None:
    with pytest.raises(ConfigurationError, match="has other options"):
        Curve(shape, 1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": "constant", "start": 1.0, "end": 2.0},
        {"shape": "constant", "start": 1.0, "begin": 5.0},
        {"shape": "multi_step", "start": 1.0, "factor": 0.1, "milestones": (9,), "begin": 5.0},
        {"shape": "quadratic", "start": 1.0},
        {"shape": "linear", "start": 1.0, "end": 2.0, "length": 0},
        {"shape": "step", "start": 1.0, "factor": 0.1, "period": -1},
        {"shape": "log_linear", "start": 1.0, "end": 0.0, "length": 1},
        {"shape": "log_linear", "start": 1.0, "end": -1.0, "length": 1},
    ],
    ids=str,
)
def test_a_curve_that_means_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Curve(**options)
