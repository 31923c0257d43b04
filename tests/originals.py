"""Run what needs packages of others, each in an environment of its own.

    python -m tests.originals                     # every environment, which are made where needed
    python -m tests.originals frameworks --keep   # one; the result goes into its page

They are the callbacks that other frameworks ship, trackers whose packages are many, and Ray.

Environments are made under `.dialects/` and used again. Noether wants Python 3.12 and its own
version of torch, which comes with gigabytes of CUDA packages.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from tests.interpreters import interpreter

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "coming-from" / "originals.md"
REMOTE = REPOSITORY / "docs" / "how-to" / "remote-storage.md"
SEARCH = REPOSITORY / "docs" / "how-to" / "folds-and-search.md"
TRACKERS = REPOSITORY / "docs" / "trackers.md"
ENVIRONMENTS = REPOSITORY / ".dialects"
MARK = "<!-- results -->"
HEAD = "| environment | packages | passed | failed | skipped | date |\n|---|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Environment:
    """Packages that are installed together."""

    name: str
    python: str
    packages: tuple[str, ...]
    tests: tuple[str, ...]
    constrained: bool = True
    """Whether the versions of `constraints.txt` hold; else the package's own."""
    page: Path = PAGE
    """Where its results are kept."""
    variables: tuple[tuple[str, str], ...] = ()
    """Of the environment; `{}` in a value is its folder."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return ENVIRONMENTS / self.name


HOME = f"{sys.version_info.major}.{sys.version_info.minor}"
ALL = (
    Environment(
        "frameworks",
        HOME,
        ("pytorch-accelerated", "keras", "transformers"),
        (
            "tests/dialects/test_originals.py",
            "tests/dialects/test_side_by_side.py",
            "tests/dialects/test_their_hooks.py",
        ),
    ),
    Environment(
        "lightning",
        HOME,
        (
            *("lightning", "pytorch-lightning"),
            # These have callbacks for it.
            *("optuna-integration", "pytorch-lightning-spells", "mlcolvar"),
            "lightning-trainer-utils",
        ),
        ("tests/dialects/test_lightning_originals.py", "tests/dialects/test_their_hooks.py"),
    ),
    Environment(
        "hosts",
        HOME,
        ("lightning", "transformers", "accelerate", "keras", "pytorch-ignite"),
        (
            "tests/guests/test_hosts.py",
            "tests/resume/test_hosts.py",
            "tests/faults/test_kept_runs.py",
        ),
    ),
    Environment(
        "s3",
        HOME,
        # A server that speaks S3; its packages want other versions of botocore than s3fs elsewhere.
        ("s3fs", "moto[server]", "tenacity"),
        ("tests/remote/test_s3.py",),
        page=REMOTE,
    ),
    Environment(
        "noether-dream",
        "3.12",
        # Noether pins its torch, which Dream Trainer alone would leave open.
        ("emmiai-noether", "dream-trainer[metrics,rich,wandb]"),
        (
            "tests/dialects/test_noether_originals.py",
            "tests/dialects/test_noether_side_by_side.py",
            "tests/dialects/test_dream_side_by_side.py",
        ),
        constrained=False,
    ),
    Environment(
        "trackio",
        HOME,
        ("trackio",),
        ("tests/callbacks/reporting/test_trackio.py",),
        page=TRACKERS,
        variables=(("TRACKIO_DIR", "{}/store"),),
    ),
    Environment(
        "dvclive",
        HOME,
        ("dvclive[image]",),
        ("tests/callbacks/reporting/test_dvclive.py",),
        page=TRACKERS,
    ),
    Environment(
        "ray",
        HOME,
        ("ray[tune]",),
        ("tests/callbacks/reporting/test_ray_tune.py",),
        page=SEARCH,
    ),
)
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "psutil", "torchmetrics")


@dataclass(frozen=True)
class Result:
    """What the tests gave in one environment."""

    environment: str
    packages: str
    passed: int
    failed: int
    skipped: int
    date: str

    @property
    def row(self) -> str:
        """Its line of the table."""
        cells = (self.environment, self.packages, self.passed, self.failed, self.skipped, self.date)
        return f"| {' | '.join(map(str, cells))} |\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 where a test failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.originals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [one.name for one in ALL]
    parser.add_argument("environments", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--keep", action="store_true", help="write the pages of results")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.environments) - set(names):
        parser.error(f"no environment {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    results = []
    for environment in ALL:
        if not chosen.environments or environment.name in chosen.environments:
            results.append(run(environment, make(environment)))
    print(HEAD + "".join(result.row for result in results))
    for page in {one.page for one in ALL} if chosen.keep else ():
        own = {one.name for one in ALL if one.page == page}
        found = [result for result in results if result.environment in own]
        page.write_text(with_results(page.read_text(), found))
    return int(any(result.failed or not result.passed for result in results))


def make(environment: Environment) -> Path:
    """The environment's Python; made where it isn't there."""
    python, done = environment.folder / "bin" / "python", environment.folder / ".installed"
    if done.exists():
        return python
    made = [interpreter(environment.python), "-m", "venv", "--clear", str(environment.folder)]
    subprocess.run(made, check=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if environment.constrained:
        install += ["-c", str(REPOSITORY / "constraints.txt")]
    wanted = [*environment.packages, *TOOLS, "-e", str(REPOSITORY)]
    subprocess.run([*install, *wanted], check=True)
    done.touch()
    return python


def run(environment: Environment, python: Path) -> Result:
    """The result of the tests in one environment."""
    report = environment.folder / "report.xml"
    variables = {name: value.format(environment.folder) for name, value in environment.variables}
    command = [str(python), "-m", "pytest", "-q", "-n", "0", "-m", "peers"]
    subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--junit-xml={report}", *environment.tests],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        check=False,
    )
    return counted(environment, report.read_text(), versions(environment, python))


def versions(environment: Environment, python: Path) -> str:
    """Packages with their versions, torch and Python among them."""
    code = "import sys; from importlib.metadata import version; print(sys.version.split()[0])\n"
    names = [package.partition("[")[0] for package in (*environment.packages, "torch")]
    code += "".join(f"print({n!r}, version({n!r}))\n" for n in names)
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    first, *others = done.stdout.splitlines()
    return ", ".join([*others, f"Python {first}"])


def counted(environment: Environment, report: str, packages: str) -> Result:
    """The result that a report in JUnit's form holds."""
    suite = next(ElementTree.fromstring(report).iter("testsuite"))
    total, skipped, failures, errors = (
        int(suite.get(name, "0")) for name in ("tests", "skipped", "failures", "errors")
    )
    failed = failures + errors
    date = datetime.now(UTC).date().isoformat()
    return Result(environment.name, packages, total - failed - skipped, failed, skipped, date)


def with_results(page: str, results: Sequence[Result]) -> str:
    """The page with these results in the place of those of the same environments."""
    before, _, table = page.partition(f"{MARK}\n\n")
    new = {result.environment for result in results}
    rows = table.removeprefix(HEAD).splitlines(keepends=True)
    kept = [row for row in rows if row.split(" | ")[0].removeprefix("| ") not in new]
    rows = sorted([*kept, *(result.row for result in results)])
    return f"{before}{MARK}\n\n{HEAD}{''.join(rows)}"


if __name__ == "__main__":
    sys.exit(main())
