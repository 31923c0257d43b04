"""The table of figures counts what passed, and a later campaign replaces the lines it measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults.figures import END, PROPERTY, START, gather, keep, merged, table_of

TOLD = {"passed": None, "of": 1, "largest": None, "unit": "", "note": ""}


def report(row: str, *, passed: bool = True, **told: Any) -> Any:
    figure = {**TOLD, "row": row, "what": "it holds", **told}
    return SimpleNamespace(user_properties=[(PROPERTY, figure)], passed=passed)


def test_tests_of_one_figure_are_added_up_and_a_failed_one_counts_as_not_passed() -> None:
    [line] = gather([report("R2"), report("R2", passed=False), report("R2", of=3)])

    assert line.result == "4 of 5"


def test_of_measured_values_the_largest_is_told() -> None:
    [line] = gather([report("R9", largest=value, unit="s") for value in (1.5, 4.25, 3.0)])

    assert line.result == "4.25 s"


def test_lines_stand_in_the_order_of_the_suite() -> None:
    lines = gather([report(row) for row in ("R10", "R2b", "R9", "R2")])

    assert [line.row for line in lines] == ["R2", "R2b", "R9", "R10"]


def test_what_was_measured_again_takes_the_place_of_the_former(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n\n{START}\n\n{END}\n\nbelow\n")

    keep(page, table_of(gather([report("R2"), report("R10")])))
    keep(page, table_of(gather([report("R2", of=7), report("R9")])))

    rows = [line.split("|")[1:4] for line in page.read_text().splitlines() if "it holds" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["R2", "it holds", "7 of 7"],
        ["R9", "it holds", "1 of 1"],
        ["R10", "it holds", "1 of 1"],
    ]
    assert page.read_text().startswith("above")
    assert page.read_text().endswith("below\n")
    assert merged([], []) == []
