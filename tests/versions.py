"""Install the package and run the quick suite with each version, and keep a table of the results.

    python -m tests.versions 2.14.1 2.11.0@3.12  # torch, and Python where it isn't this one
    python -m tests.versions 2.8.0 --keep        # the result goes into docs/compatibility.md
    python -m tests.versions 2.8.0 --failed      # only what failed in the last run, after a mend

The package is installed each time, as a user does: see `tests.installing`. The date of a result is
that of its whole run.

Environments are made under `.compat/` and used again. Most versions of torch come with gigabytes
of CUDA packages.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from tests import installing
from tests.interpreters import interpreter

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "compatibility.md"
ENVIRONMENTS = REPOSITORY / ".compat"
QUICK = "not slow and not peers and not browser and not distributed"
TABLE = re.compile(r"(?<=<!-- results -->\n\n).*", re.DOTALL)
HEAD = (
    "| torch | Python | installs | passed | failed | skipped | date |\n"
    "|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Version:
    """A version of torch, and of the Python that it runs in."""

    torch: str
    python: str

    @classmethod
    def parse(cls, text: str) -> Version:
        """From `2.8.0` or `2.8.0@3.12`."""
        torch, _, python = text.partition("@")
        return cls(torch, python or f"{sys.version_info.major}.{sys.version_info.minor}")

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return ENVIRONMENTS / f"torch-{self.torch}-python-{self.python}"


@dataclass(frozen=True)
class Result:
    """What the quick suite gave with one version, and whether the package installs with it."""

    version: Version
    installs: bool
    passed: int
    failed: int
    skipped: int
    date: str

    @property
    def row(self) -> str:
        """Its line of the table."""
        version = self.version
        counts = (self.passed, self.failed, self.skipped)
        installs = "yes" if self.installs else "no"
        cells = (version.torch, version.python, installs, *counts, self.date)
        return f"| {' | '.join(map(str, cells))} |\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 where a test failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.versions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("versions", nargs="+", type=Version.parse, metavar="TORCH[@PYTHON]")
    parser.add_argument("--keep", action="store_true", help=f"write {PAGE.name}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tests", nargs="*", default=["tests"], help="instead of all of them")
    which.add_argument("--failed", action="store_true", help="those that failed in the last run")
    chosen = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = installing.wheel(Path(folder))
        for version in chosen.versions:
            print(f"torch {version.torch}, Python {version.python}", flush=True)
            python = make(version)
            place = version.folder / "installed"
            installs = installing.installs(python, version.torch, wheel, place)
            print(f"  the package installs: {installs}", flush=True)
            run_tests = run_failed if chosen.failed else partial(run, tests=chosen.tests)
            results.append(counted(version, run_tests(version, python), installs))
            print(f"  {results[-1].passed} passed, {results[-1].failed} failed", flush=True)
    print(HEAD + "".join(result.row for result in results))
    if chosen.keep:
        PAGE.write_text(with_results(PAGE.read_text(), results))
    return int(any(result.failed or not result.installs for result in results))


def make(version: Version) -> Path:
    """The environment's Python; made where it isn't there."""
    python, done = version.folder / "bin" / "python", version.folder / ".installed"
    if done.exists():
        return python
    made = [interpreter(version.python), "-m", "venv", "--clear", str(version.folder)]
    subprocess.run(made, check=True)
    constraints = version.folder / "constraints.txt"
    kept = (REPOSITORY / "constraints.txt").read_text().splitlines(keepends=True)
    pinned = [line for line in kept if not line.startswith("torch==")]
    constraints.write_text("".join([*pinned, f"torch=={version.torch}\n"]))
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(constraints), "-e", f"{REPOSITORY}[test]"], check=True)
    done.touch()
    return python


def run(version: Version, python: Path, tests: Sequence[str]) -> str:
    """The report of the quick suite; what fails is printed."""
    report = version.folder / "report.xml"
    _run_tests(python, report, tests)
    return report.read_text()


def run_failed(version: Version, python: Path) -> str:
    """The report of the last run once what failed in it has been run again, and no other test."""
    report, again = version.folder / "report.xml", version.folder / "again.xml"
    if not report.exists():
        raise SystemExit(
            f"error: nothing was run with torch {version.torch} yet; leave out --failed"
        )
    tests = [node(case) for case in cases(report.read_text()) if outcome(case) == "failed"]
    if tests:
        _run_tests(python, again, tests)
        report.write_text(with_outcomes(report.read_text(), again.read_text()))
    return report.read_text()


def _run_tests(python: Path, report: Path, tests: Sequence[str]) -> None:
    command = [str(python), "-m", "pytest", "-q", "-n", "2", "-m", QUICK, "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "--tb=short", f"--junit-xml={report}", *tests],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


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


def counted(version: Version, report: str, installs: bool) -> Result:
    """The counts of a report; a test that fails twice, in itself and in its end, counts once."""
    ends: dict[str, set[str]] = {}
    for case in cases(report):
        ends.setdefault(node(case), set()).add(outcome(case))
    found = ["failed" if "failed" in end else min(end) for end in ends.values()]
    passed, failed, skipped = map(found.count, ("passed", "failed", "skipped"))
    return Result(version, installs, passed, failed, skipped, date(report))


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


def with_results(page: str, results: Sequence[Result]) -> str:
    """The page with the newest result of each version, newest torch first."""
    rows = {}
    for line in TABLE.findall(page)[0].splitlines(keepends=True)[2:]:
        cells = [cell.strip() for cell in line.strip("|\n").split("|")]
        rows[cells[0], cells[1]] = line
    rows |= {(one.version.torch, one.version.python): one.row for one in results}

    def newest_first(key: tuple[str, str]) -> list[list[int]]:
        return [[-int(part) for part in text.split(".")] for text in key]

    table = HEAD + "".join(rows[key] for key in sorted(rows, key=newest_first))
    return TABLE.sub(lambda _: table, page)


if __name__ == "__main__":
    raise SystemExit(main())
