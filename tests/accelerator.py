"""Everything that wants an accelerator, in one go: `make accelerator` runs it there.

The quick suite on the device, the quick forms of the fault suite among it; then the benchmarks. One
table is printed, and one file is left: `accelerator.json`.

    python -m tests.accelerator                 # on the accelerator that this machine has
    python -m tests.accelerator --device cpu    # the same on the CPU, to try it
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.quick_suite import SELECTION, cases, node, outcome

REPOSITORY = Path(__file__).resolve().parents[1]
REPORT = REPOSITORY / "accelerator.xml"
RESULT = REPOSITORY / "accelerator.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 where a test failed or a figure is over its budget."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tests", nargs="*", default=["tests"], help="instead of all of them")
    chosen = parser.parse_args(arguments)
    suite = tested(chosen.device, chosen.tests)
    figures = measured()
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "suite": suite,
        "figures": figures,
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{suite['passed']} passed, {len(suite['failed'])} failed, {suite['skipped']} skipped")
    for name in suite["failed"]:
        print(f"  failed: {name}")
    print(f"\n{RESULT.name} holds all of it")
    over = any(one["budget"] is not None and one["value"] > one["budget"] for one in figures)
    return int(bool(suite["failed"]) or over)


def tested(device: str, tests: Sequence[str]) -> dict[str, Any]:
    """The quick suite on `device`, with as many workers as there are cores, up to 14."""
    workers = max(1, min(14, (os.cpu_count() or 2) - 1))
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-m", SELECTION]
    subprocess.run(
        [*command, "-p", "tests.faults.figures", "--tb=short", f"--junit-xml={REPORT}", *tests],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRACKSIDE_TEST_DEVICE": device},
        check=False,
    )
    return outcomes(REPORT.read_text())


def outcomes(report: str) -> dict[str, Any]:
    """How the tests of a report in JUnit's format ended."""
    found = [(node(case), outcome(case)) for case in cases(report)]
    ends = [end for _, end in found]
    return {
        "passed": ends.count("passed"),
        "failed": [name for name, end in found if end == "failed"],
        "skipped": ends.count("skipped"),
    }


def measured() -> list[dict[str, Any]]:
    """The figures of `benchmarks.accelerator` and `benchmarks.graphs`, printed as a table too."""
    from benchmarks import accelerator, graphs
    from benchmarks.report import table

    figures = [*accelerator.measure(), *graphs.measure()]
    print(f"\n{machine()}\n\n{table(figures)}")
    return [asdict(figure) for figure in figures]


def machine() -> str:
    """The machine, and its card."""
    import torch

    from benchmarks.report import machine as host

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator"
    return f"{host()}, {card}"


if __name__ == "__main__":
    raise SystemExit(main())
