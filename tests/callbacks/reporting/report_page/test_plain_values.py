from __future__ import annotations

import math

from trackside.callbacks.reporting.report_page import plain_values as plain


def test_a_value_of_another_type_is_the_default() -> None:
    assert plain.count_of(True, 3) == plain.count_of("4", 3) == 3
    assert plain.number_of(math.nan, 0.5) == plain.number_of(None, 0.5) == 0.5
    assert plain.text_of(5) is None
    assert plain.numbers_of([1]) == {}
    assert plain.objects_of([1, {"a": 2}]) == [{"a": 2}]


def test_a_text_stays_as_it_is_and_other_values_are_json() -> None:
    assert (plain.shown("a"), plain.shown(None), plain.shown([1])) == ("a", "null", "[1]")
