"""All benchmarks, one after the other, each in a process of its own: `python -m benchmarks`.

Arguments (`--keep`) are handed on to each.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NOT_BENCHMARKS = {
    "__init__",
    "__main__",
    "accelerator",  # by `make accelerator`
    "by_trainer",
    "counting",
    "instructions",
    "report",
    "task",
}


def main() -> int:
    """Run them all, also when one fails; 1 when one did."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    failed = [
        name
        for name in names
        if name not in NOT_BENCHMARKS
        and subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False
        ).returncode
    ]
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
