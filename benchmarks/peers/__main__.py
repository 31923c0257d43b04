"""Time per step of other trainers over the same loop written by hand: `python -m benchmarks.peers`.

Each trainer runs in a process of its own, taking turns with the raw loop there; medians and spread
of the ratios. The loss of the trained model is compared with the raw loop's: who trains something
else isn't compared. Needs the extra `peers`; a trainer that isn't installed is said to be missing.

    python -m benchmarks.peers [--keep] [NAME]
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Any

import torch
from torch import nn

from benchmarks.peers.loops import PEERS, Batches, raw
from benchmarks.report import Figure, main, quiet
from benchmarks.task import batches, build

STEPS, WARM_UP = 300, 30
ROUNDS = 7
PACKAGES = ["accelerate", "keras", "lightning", "pytorch-accelerated", "pytorch-ignite"]
PACKAGES += ["transformers"]
ONE = "--one"


def one(name: str) -> dict[str, Any]:
    """The ratios of one trainer, and by how much its loss differs from the raw loop's."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    data = batches(STEPS)

    def loss_of(model: nn.Module) -> float:
        with torch.no_grad():
            return float(build()[1](model.eval()(data[0][0]), data[0][1]))

    def run(train: Callable[[Any], nn.Module]) -> tuple[float, float]:
        marks: dict[int, float] = {}

        def at(number: int) -> None:
            if number in (WARM_UP, STEPS - 1):
                marks.setdefault(number, perf_counter())

        model = quiet(train)(Batches(data, at).loader())
        return marks[STEPS - 1] - marks[WARM_UP], loss_of(model)

    peer = PEERS[name]
    (_, expected), (_, found) = run(raw), run(peer)
    ratios = []
    before, _ = run(raw)
    for _ in range(ROUNDS):
        own, _ = run(peer)
        after, _ = run(raw)
        ratios.append(2 * own / (before + after))
        before = after
    raw_microseconds = before / (STEPS - 1 - WARM_UP) * 1e6
    return {"ratios": ratios, "differs": abs(found - expected), "raw": raw_microseconds}


def measure() -> list[Figure]:
    """One process after the other."""
    figures: list[Figure] = []
    for name in PEERS:
        command = [sys.executable, "-m", "benchmarks.peers", ONE, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            why = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(f"{name}: {why}", file=sys.stderr)
            continue
        found = json.loads(lines[-1])
        ratios = found["ratios"]
        if found["differs"] > 1e-3:
            print(f"{name}: another loss, by {found['differs']:g}", file=sys.stderr)
            continue
        spread = (min(ratios), max(ratios))
        figures += [
            Figure(
                f"step, {name}, over a raw loop", statistics.median(ratios), "ratio", None, spread
            ),
            Figure(f"loss, {name}, beside the raw loop's", found["differs"], "difference"),
        ]
    return figures


def versions() -> str:
    """What is installed of the peers."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    return ", ".join(found)


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE]:
        print(json.dumps(one(sys.argv[2])))
    else:
        main("peers", measure, versions=versions())
