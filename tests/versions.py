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
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import installing, quick_suite
from tests.interpreters import interpreter
from tests.quick_suite import PAGE, Counts, line, with_rows

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENTS = REPOSITORY / ".compat"
MARK = "<!-- results -->"
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
    counts: Counts

    @property
    def row(self) -> str:
        """Its line of the table."""
        counts = (self.counts.passed, self.counts.failed, self.counts.skipped)
        installs = "yes" if self.installs else "no"
        return line((*self.key, installs, *counts, self.counts.date))

    @property
    def key(self) -> tuple[str, str]:
        """The cells that say which version it is."""
        return self.version.torch, self.version.python


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
            report = version.folder / "report.xml"
            if chosen.failed:
                counts = quick_suite.run_failed(python, report)
            else:
                counts = quick_suite.run(python, report, chosen.tests)
            results.append(Result(version, installs, counts))
            print(f"  {counts.passed} passed, {counts.failed} failed", flush=True)
    print(HEAD + "".join(result.row for result in results))
    if chosen.keep:
        rows = {result.key: result.row for result in results}
        PAGE.write_text(with_rows(PAGE.read_text(), MARK, HEAD, rows))
    return int(any(result.counts.failed or not result.installs for result in results))


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


if __name__ == "__main__":
    raise SystemExit(main())
