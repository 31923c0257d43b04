"""All benchmarks, one after the other, each in a process of its own: `python -m benchmarks`.

Arguments (`--keep`, `--rounds N`) are handed on to each. The seconds of each stand at the end.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

NOT_BENCHMARKS = {
    "__init__",
    "__main__",
    "accelerator",  # by `make accelerator`
    "by_trainer",
    "counting",
    "graphs",  # by `make accelerator`
    "instructions",
    "page",
    "parts",
    "report",
    "task",
    "workloads",
}


def main() -> int:
    """Run them all, also when one fails, and print the seconds of each; 1 when one did."""
    seconds, failed = {}, []
    for name in sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - NOT_BENCHMARKS):
        began = perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        seconds[name] = perf_counter() - began
    parts = ", ".join(f"{name} {took:.0f}" for name, took in seconds.items())
    print(f"{sum(seconds.values()):.0f} s in all: {parts}")
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
