from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.callbacks.reporting.figures import aligned, duration, figure, rate, share, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04321, "0.0432"),
        (0.0, "0.0000"),
        (-1.5, "-1.5000"),
        (123.44, "123.4"),
        (12345.6, "12345.6"),
        (1_234_567.0, "1,234,567"),
        (3e12, "3.000e+12"),
        (0.0000123, "1.23e-05"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_metric_is_written_short(value: float, text: str) -> None:
    assert figure(value) == text


@given(st.floats())
def test_a_metric_never_takes_more_than_eleven_characters(value: float) -> None:
    assert len(figure(value)) <= 11


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (42, "42 s"),
        (59.6, "1:00"),
        (185, "3:05"),
        (7800, "2:10:00"),
        (3 * 86400 + 4 * 3600, "3 d 04:00"),
    ],
)
def test_a_duration_is_written_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(512, "512 B"), (1_200_000, "1.2 MB"), (3.4e9, "3.4 GB"), (5e15, "5000.0 TB")],
)
def test_a_size_is_written_in_the_unit_that_fits(count: float, text: str) -> None:
    assert size(count) == text


def test_rates_and_shares_are_written_with_their_unit() -> None:
    assert rate(12345.6, "samples") == "12,346 samples/s"
    assert rate(1.254, "steps") == "1.25 steps/s"
    assert [share(0.0001), share(0.008), share(0.123)] == ["<0.1 %", "0.8 %", "12 %"]


def test_columns_are_straight() -> None:
    assert aligned([("layer", "n"), ("a", "100")], right=(1,)) == ["layer    n", "a      100"]
