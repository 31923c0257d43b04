"""The quick suite, run and counted, with a table of results that a page keeps.

python -m tests.quick_suite standin --keep    # on a device; the result goes into the page
python -m tests.quick_suite standin --failed  # only what failed in the last run, after a mend
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run as run_process
from typing import Any
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "compatibility.md"
REPORTS = REPOSITORY / ".compat"
MARK = "<!-- devices -->"
HEAD = (
    "| device | torch | Python | passed | failed | skipped | date |\n"
    "|---|---|---|---|---|---|---|\n"
)
SELECTION = "not slow and not peers and not browser and not distributed"
"""The tests that are quick, in pytest's words for markers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it on a device, with this Python; 1 where a test failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.quick_suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", choices=("standin", "cpu"))
    parser.add_argument("--keep", action="store_true", help=f"write {PAGE.name}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tests", nargs="*", default=["tests"], help="instead of all of them")
    which.add_argument("--failed", action="store_true", help="those that failed in the last run")
    chosen = parser.parse_args(arguments)
    report = REPORTS / f"{chosen.device}.xml"
    if chosen.failed:
        found = run_failed(sys.executable, report, device=chosen.device)
    else:
        found = run(sys.executable, report, chosen.tests, device=chosen.device)
    row = row_of(chosen.device, found)
    print(HEAD + row)
    if chosen.keep:
        PAGE.write_text(with_rows(PAGE.read_text(), MARK, HEAD, {(chosen.device,): row}))
    return int(found.failed > 0)


def row_of(device: str, found: Counts) -> str:
    """The line of the table for a device."""
    import torch

    version = str(torch.__version__).partition("+")[0]
    python = ".".join(platform.python_version_tuple()[:2])
    return line((device, version, python, found.passed, found.failed, found.skipped, found.date))


# --- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """How the tests of a run ended."""

    passed: int
    failed: int
    skipped: int
    date: str
    """The day on which the run began, in UTC."""


def run(python: str | Path, report: Path, tests: Sequence[str], *, device: str = "cpu") -> Counts:
    """Run tests on two workers; what fails is printed.

    Args:
        python: Of the environment that runs them.
        report: File for the report, in JUnit's format.
        tests: As pytest's command line takes them.
        device: Where they train, as `TRACKSIDE_TEST_DEVICE` says it.
    """
    report.parent.mkdir(exist_ok=True)
    command = [python, "-m", "pytest", "-q", "-n", "2", "-m", SELECTION, "-p", "no:cacheprovider"]
    run_process(
        [*command, "--tb=short", f"--junit-xml={report}", *tests],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRACKSIDE_TEST_DEVICE": device},
        check=False,
    )
    return counted(report.read_text())


def run_failed(python: str | Path, report: Path, *, device: str = "cpu") -> Counts:
    """Run what failed in the last whole run, and no other test: the counts of the whole."""
    again = report.with_name(f"again-{report.name}")
    if not report.exists():
        raise SystemExit(f"error: {report} must be there from a whole run; leave out --failed")
    tests = [node(case) for case in cases(report.read_text()) if outcome(case) == "failed"]
    if tests:
        run(python, again, tests, device=device)
        report.write_text(with_outcomes(report.read_text(), again.read_text()))
    return counted(report.read_text())


# --- reports in JUnit's format -------------------------------------------------------------------


def cases(report: str) -> list[ElementTree.Element]:
    """The tests of a report."""
    return list(ElementTree.fromstring(report).iter("testcase"))


def outcome(case: ElementTree.Element) -> str:
    """How a test ended: `passed`, `failed` or `skipped`; an error outside of it is a failure."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def node(case: ElementTree.Element) -> str:
    """The test, as a command line of pytest names it: `tests/test_run.py::test_it[a]`."""
    return f"{str(case.get('classname')).replace('.', '/')}.py::{case.get('name')}"


def counted(report: str) -> Counts:
    """The counts of a report; a test that fails twice, in itself and in its end, counts once."""
    ends: dict[str, set[str]] = {}
    for case in cases(report):
        ends.setdefault(node(case), set()).add(outcome(case))
    found = ["failed" if "failed" in end else min(end) for end in ends.values()]
    passed, failed, skipped = map(found.count, ("passed", "failed", "skipped"))
    return Counts(passed, failed, skipped, date(report))


def date(report: str) -> str:
    """The day on which a report's run began, in UTC."""
    [began] = {one.attrib["timestamp"] for one in ElementTree.fromstring(report).iter("testsuite")}
    return datetime.fromisoformat(began).astimezone(UTC).date().isoformat()


def with_outcomes(report: str, again: str) -> str:
    """A report with the newer outcomes of the tests that were run again."""
    tree = ElementTree.fromstring(report)
    newer = {node(case): case for case in cases(again)}
    for case in tree.iter("testcase"):
        if outcome(case) == "failed" and (found := newer.get(node(case))) is not None:
            case[:] = list(found)
    return ElementTree.tostring(tree, encoding="unicode")


# --- tables of a page ----------------------------------------------------------------------------


def line(cells: Sequence[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |\n"


def with_rows(page: str, mark: str, head: str, rows: Mapping[Any, str]) -> str:
    """A page whose table has these rows in place of those for the same.

    Args:
        page: Its text.
        mark: The line before the table, with an empty one between them.
        head: The two lines at the table's beginning.
        rows: By a tuple of their first cells, which say what a row is for; newer versions come
            first.
    """
    before, after = page.split(f"{mark}\n\n")
    lines = after.splitlines(keepends=True)
    end = next((n for n, one in enumerate(lines) if not one.startswith("|")), len(lines))
    size = len(next(iter(rows)))
    former = {
        tuple(cell.strip() for cell in one.strip("|\n").split("|")[:size]): one
        for one in lines[2:end]
    }
    together = {**former, **rows}
    table = head + "".join(together[key] for key in sorted(together, key=_newest_first))
    return f"{before}{mark}\n\n{table}{''.join(lines[end:])}"


def _newest_first(key: tuple[str, ...]) -> list[list[int] | str]:
    return [[-int(part) for part in text.split(".")] if text[0].isdigit() else text for text in key]


if __name__ == "__main__":
    raise SystemExit(main())
