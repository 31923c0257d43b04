"""The tables of what is shown name tests that exist, and the page has them."""

from __future__ import annotations

import pytest

from tests.dialects.proof import (
    CAN_DO,
    DOCUMENTS,
    HEADING,
    HOSTS,
    PAGE,
    PROMISES,
    TESTS,
    Line,
    lines,
    names_in,
    section,
)

ALL = [line for table in (CAN_DO, PROMISES, DOCUMENTS, HOSTS) for line in lines(table)]


@pytest.mark.parametrize("line", [one for one in ALL if one.file], ids=lambda one: one.number)
def test_the_test_of_a_row_exists(line: Line) -> None:
    assert line.test in names_in(TESTS / line.file)


def test_no_row_and_no_promise_is_left_out() -> None:
    assert [line.number for line in lines(CAN_DO)] == [str(number) for number in range(1, 152)]
    assert len(lines(PROMISES)) == 60
    assert len(lines(DOCUMENTS)) == 38


def test_the_page_has_the_tables() -> None:
    _, found, text = PAGE.read_text().partition(HEADING)

    assert found + text == section().rstrip() + "\n", "run python -m tests.dialects.proof"
