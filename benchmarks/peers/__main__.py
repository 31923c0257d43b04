"""Time per step of other trainers over the same loop written by hand: `python -m benchmarks.peers`.

An MLP, a small GPT and a ResNet-9. Each trainer runs in a process of its own, taking turns with the
raw loop there; medians and spread of the ratios. The loss of the trained model is compared with the
raw loop's: who trains something else isn't compared. Needs the extra `peers`; a trainer that isn't
installed is said to be missing.

    python -m benchmarks.peers [--keep] [--rounds N]
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

import torch
from torch import nn

from benchmarks import report
from benchmarks.peers.loops import MLP_ONLY, PEERS, Batches, raw
from benchmarks.report import Figure, main, quiet, ratios
from benchmarks.workloads import MLP, WORKLOADS, Workload

ROUNDS = 9
PACKAGES = ["accelerate", "keras", "lightning", "pytorch-accelerated", "pytorch-ignite"]
PACKAGES += ["transformers"]
ONE = "--one"


def one(name: str, load: Workload) -> list[Figure]:
    """The ratio of one trainer on one workload, and how its loss differs from the raw loop's."""
    data, warm_up = load.data(load.steps), load.steps // 10
    losses: dict[str, float] = {}

    def loss_of(model: nn.Module) -> float:
        with torch.no_grad():
            return float(load.task()[1](model.eval()(data[0][0]), data[0][1]))

    def seconds(who: str, train: Callable[..., nn.Module]) -> float:
        marks: dict[int, float] = {}

        def at(number: int) -> None:
            if number in (warm_up, load.steps - 1):
                marks.setdefault(number, perf_counter())

        losses[who] = loss_of(quiet(train)(Batches(data, at).loader(), load.task))
        return marks[load.steps - 1] - marks[warm_up]

    what = f"{load.name}, {name}"
    [ratio] = ratios(
        {f"{what}, over a raw loop": partial(seconds, name, PEERS[name])},
        lambda: seconds("raw", raw),
        rounds=ROUNDS,
    )
    differs = abs(losses[name] - losses["raw"])
    return [ratio, Figure(f"{what}, loss beside the raw loop's", differs, "difference")]


def alone(name: str) -> list[Figure]:
    """All figures of one trainer, in this process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    loads = (MLP,) if name in MLP_ONLY else WORKLOADS
    return [figure for load in loads for figure in one(name, load)]


def measure() -> list[Figure]:
    """One process after the other."""
    figures: list[Figure] = []
    for name in PEERS:
        rounds = [] if report.MOST_ROUNDS is None else [str(report.MOST_ROUNDS)]
        command = [sys.executable, "-m", "benchmarks.peers", ONE, name, *rounds]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            why = (done.stderr.strip().splitlines() or ["no output"])[-1]
            print(f"{name}: {why}", file=sys.stderr)
            continue
        found = [Figure(**fields) for fields in json.loads(lines[-1])]
        for ratio, differs in zip(found[::2], found[1::2], strict=True):
            if differs.value > 1e-3:
                print(f"{differs.name}: another loss, by {differs.value:g}", file=sys.stderr)
            else:
                figures += [ratio, differs]
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
        report.MOST_ROUNDS = int(sys.argv[3]) if sys.argv[3:] else None
        print(json.dumps([asdict(figure) for figure in alone(sys.argv[2])]))
    else:
        main("peers", measure, versions=versions())
