"""Machine instructions per step under callgrind: free of noise, and C code counts too.

The raw loop and the bare trainer, each in a process of its own under valgrind, which counts between
two batches only. Takes minutes, so it isn't part of `python -m benchmarks`. Where valgrind isn't
installed it says so.

    python -m benchmarks.instructions
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.counting import FIRST, LAST, Marked
from benchmarks.report import Figure, main

INSIDE = "--inside"


def inside(name: str) -> None:
    """The loop of that name; callgrind is switched on and off from here."""
    import torch

    from benchmarks.task import batches, raw_loop

    torch.set_num_threads(1)
    loop: Callable[[Any], object] = raw_loop
    if name == "bare trainer":
        from benchmarks.by_trainer import fit

        loop = fit

    def switch(state: str) -> None:
        control = ["callgrind_control", "-i", state, str(os.getpid())]
        subprocess.run(control, check=True, capture_output=True)

    loop(batches(FIRST))
    loop(Marked(lambda: switch("on"), lambda: switch("off")))


def instructions(name: str) -> float:
    """Per step, those of the process's start left out."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        command += [f"--callgrind-out-file={out}", sys.executable, "-m", "benchmarks.instructions"]
        done = subprocess.run(
            [*command, INSIDE, name],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found is not None, done.stderr[-2000:]
        return int(found[1]) / (LAST - FIRST)


def measure() -> list[Figure]:
    """Both loops, and what the trainer takes more."""
    if shutil.which("valgrind") is None:
        print("valgrind isn't installed: no instructions are counted", file=sys.stderr)
        return []
    raw, bare = instructions("raw loop"), instructions("bare trainer")
    return [
        Figure("step, raw loop: instructions", raw, "instructions"),
        Figure("step, bare trainer: instructions", bare, "instructions"),
        Figure("step, bare trainer: instructions over the raw loop's", bare / raw, "ratio"),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        inside(sys.argv[2])
    else:
        main("instructions", measure)
