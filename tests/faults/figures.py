"""The figures of the fault suite: gathered from its tests, shown as one table, kept when asked for.

`make faults` shows it, `make faults ARGS="--keep-figures docs/faults.md"` keeps it: lines that were
measured again take the place of the former ones. A figure is "so many of so many", or the largest
value that was seen.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import pytest

PROPERTY = "figure"
HEAD = ("| # | what | result | date | |", "|---|---|---|---|---|")
START, END = "<!-- figures -->", "<!-- end of the figures -->"


class Figure(Protocol):
    """What the fixture `figure` is."""

    def __call__(
        self,
        row: str,
        what: str,
        *,
        passed: int | None = None,
        of: int = 1,
        largest: float | None = None,
        unit: str = "",
        note: str = "",
    ) -> None:
        """Tell a figure of this test.

        Args:
            row: Which line of the suite, `R1` to `R24`.
            what: What is counted or measured. Figures of the same name are added up.
            passed: How many passed; None when the test itself tells, by passing or failing.
            of: Of how many.
            largest: A measured value; the table has the largest.
            unit: Its unit.
            note: More words for the table.
        """


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    row: str
    what: str
    passed: int = 0
    of: int = 0
    largest: float | None = None
    unit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        if self.largest is None:
            return f"{self.passed} of {self.of}"
        return f"{self.largest:.3g} {self.unit}".strip()

    def and_(self, told: dict[str, Any], ok: bool) -> Line:
        """With what one more test has told."""
        counted = told["passed"] if told["passed"] is not None else told["of"] * ok
        values = [value for value in (self.largest, told["largest"]) if value is not None]
        notes = [told["note"]] if told["note"] and told["note"] not in self.notes else []
        return dataclasses.replace(
            self,
            passed=self.passed + counted,
            of=self.of + told["of"],
            largest=max(values, default=None),
            unit=told["unit"],
            notes=(*self.notes, *notes),
        )


def gather(reports: Iterable[pytest.TestReport]) -> list[Line]:
    """The table's lines, in the order of the suite."""
    lines: dict[tuple[str, str], Line] = {}
    for report in reports:
        for name, told in report.user_properties:
            if name == PROPERTY and isinstance(told, dict):
                key = told["row"], told["what"]
                lines[key] = lines.get(key, Line(*key)).and_(told, report.passed)
    return sorted(lines.values(), key=lambda line: place(line.row))


def table_of(lines: Iterable[Line]) -> list[str]:
    """The rows of the table, in markdown, with today's date."""
    return [
        f"| {line.row} | {line.what} | {line.result} | {date.today()} | {'; '.join(line.notes)} |"
        for line in lines
    ]


def merged(kept: Iterable[str], new: Iterable[str]) -> list[str]:
    """Rows that were kept, with those in their place that were measured again."""
    rows = {tuple(row.split("|")[1:3]): row for row in (*kept, *new)}
    return sorted(rows.values(), key=lambda row: place(row.split("|")[1].strip()))


def place(row: str) -> tuple[int, str]:
    """Where a line stands in the suite: R2b after R2, R10 after R9."""
    return int(row[1:].rstrip("b")), row


def keep(path: Path, rows: list[str]) -> None:
    """Put the rows into a page, between its two marks."""
    before, rest = path.read_text().split(START)
    former, after = rest.split(END)
    rows = merged([line for line in former.splitlines() if line.startswith("| R")], rows)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    table = [f"{machine}, Python {platform.python_version()}", "", *HEAD, *rows]
    path.write_text("\n".join([before + START, "", *table, "", END + after]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep-figures", metavar="PAGE", help="write the table into this page")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if report.when == "call" or report.failed
    ]
    rows = table_of(gather(reports))
    terminalreporter.section("figures")
    terminalreporter.write_line("\n".join([*HEAD, *rows]))
    page = config.getoption("--keep-figures")
    if page and rows:
        keep(Path(page), rows)
