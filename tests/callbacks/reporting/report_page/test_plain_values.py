from __future__ import annotations

import math
from datetime import UTC, datetime

from trackside.callbacks.reporting.report_page import plain_values as plain


def test_a_value_of_another_type_is_the_default() -> None:
    assert plain.count_of(True, 3) == plain.count_of("4", 3) == 3
    assert plain.number_of(math.nan, 0.5) == plain.number_of(None, 0.5) == 0.5
    assert plain.text_of(5) is None
    assert plain.numbers_of([1]) == {}
    assert plain.objects_of([1, {"a": 2}]) == [{"a": 2}]


def test_numbers_of_any_size_are_the_default_where_they_are_none_of_things() -> None:
    assert plain.count_of(-1, 3) == plain.count_of(10**30, 3) == 3
    assert plain.number_of(10**400, 0.5) == 0.5


def test_a_time_without_a_zone_is_by_utc() -> None:
    assert plain.time_of("2026-01-01T00:00:00") == datetime(2026, 1, 1, tzinfo=UTC)
    assert plain.time_of("2026-01-01T02:00:00+02:00") == datetime(2026, 1, 1, tzinfo=UTC)
    assert plain.time_of("yesterday") is plain.time_of(None) is None


def test_a_text_stays_as_it_is_and_other_values_are_json() -> None:
    assert (plain.shown("a"), plain.shown(None), plain.shown([1])) == ("a", "null", "[1]")
