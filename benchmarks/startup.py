"""Start-up: imports, the command line, the first step, and the most memory that a run takes.

Each in a fresh process, in turns with the plain thing: `import torch`, and a raw loop that does the
same steps. The first optimizer of a process makes torch import its compiler, which takes seconds:
the raw loop waits for that too.

    python -m benchmarks.startup
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.report import Figure, at_most, main, median, ratios

ROUNDS = 3

IMPORT_TORCH = "import torch"
IMPORT = "import torch, trackside"
IMPORT_TRAINER = "import torch; from trackside import Trainer"
STEPS = """
import torch
torch.set_num_threads(1)
from benchmarks.task import batches, raw_loop
data = batches({steps})
"""
RAW = STEPS + "raw_loop(data)"
BARE = STEPS + "from benchmarks.by_trainer import fit; fit(data)"
WRONG = """
model: {kind: torch.nn.Linear, in_features: 4, out_features: 2}
data:
  train: {kind: torch.utils.data.TensorDataset, tensors: []}
loss: cross_entropy
optimizer: {kind: sgd, lr: -1}
trainer: {epochs: many}
callbacks: [{kind: early_stoping}]
"""
UNREADABLE = "model:\n\tkind: x\n"
DEFAULTS = STEPS + "from benchmarks.by_trainer import fit; fit(data, defaults=True)"


def seconds(*arguments: str) -> float:
    """Until a fresh interpreter with these arguments has ended."""
    started = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return perf_counter() - started


def refusal(text: str) -> float:
    """Until `trackside train` has told what is wrong with a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text(text, encoding="utf-8")
        started = perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "trackside", "train", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        took = perf_counter() - started
    if done.returncode != 2:
        raise SystemExit(f"the file was not refused: {done.stdout}{done.stderr}")
    return took


def program(text: str) -> float:
    return seconds("-c", text)


PEAK = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(text: str) -> float:
    """The most memory that a program has held, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", text + PEAK], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[-1]) / 1024  # Linux tells kilobytes


def measure() -> list[Figure]:
    """All figures of start-up."""
    first, long = {"steps": 1}, {"steps": 300}
    figures = ratios(
        {
            "import trackside (torch included), over import torch": lambda: program(IMPORT),
            "from trackside import Trainer, over import torch": lambda: program(IMPORT_TRAINER),
        },
        lambda: program(IMPORT_TORCH),
        rounds=ROUNDS,
        budgets={"import trackside (torch included), over import torch": 1.05},
    )
    figures += ratios(
        {"telling what is wrong with a file, over import torch": lambda: refusal(WRONG)},
        lambda: program(IMPORT_TORCH),
        rounds=ROUNDS,
        warm_up=False,
    )
    name = "a process that trains one step, over one by hand"
    figures += ratios(
        {
            f"{name}: bare trainer": lambda: program(BARE.format(**first)),
            f"{name}: default callbacks": lambda: program(DEFAULTS.format(**first)),
        },
        lambda: program(RAW.format(**first)),
        rounds=2,
        warm_up=False,
    )
    turns = range(at_most(ROUNDS))
    tabs = [refusal(UNREADABLE) for _ in turns]
    figures += [
        median("telling that a file isn't YAML", tabs, "s", 2.0),
        median("trackside --help", [seconds("-m", "trackside", "--help") for _ in turns], "s", 0.3),
        median("an empty Python process", [program("") for _ in turns], "s"),
    ]
    memory = "peak memory of 300 steps"
    raw = peak_mb(RAW.format(**long))
    for label, text in (("bare trainer", BARE), ("default callbacks", DEFAULTS)):
        beyond = peak_mb(text.format(**long)) - raw
        figures.append(Figure(f"{memory} beyond the raw loop: {label}", beyond, "MB"))
    return [*figures, Figure(f"{memory}, raw loop", raw, "MB")]


if __name__ == "__main__":
    main("startup", measure)
