"""What agreement and metrics cost on two ranks: a step of the trainer over a hand-written DDP loop.

Two processes on the CPU with gloo, one thread each, 32 samples per rank and step. In the same
processes the trainer and the loop take turns, so that noise hits both alike; medians and spread of
the ratios are printed. Where the system allows it, each process stays on a core of its own: most of
a short step is waiting for gloo's threads, and how they are spread over cores changes its time more
than anything that a trainer does. Both take the same batches out of memory, through the same
`DistributedDataParallel`; both average the loss over ranks every 50 steps. The trainer has no
callbacks: what is left is its loop, the agreement of the ranks, the metrics and the records.

    python -m benchmarks.two_ranks
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks import report
from benchmarks.report import Figure, main, ratios
from trackside import Settings, Trainer
from trackside.distributed import DDP, join, launch, leave

WARM_UP, LOG_EVERY = 20, 50
BUDGET = 1.05


class Workload(NamedTuple):
    """A model, and how long it is measured."""

    widths: tuple[int, ...]
    steps: int
    rounds: int


WORKLOADS = {
    "MLP 64-128-10": Workload((64, 128, 10), steps=400, rounds=15),
    "MLP 64-1024-1024-10": Workload((64, 1024, 1024, 10), steps=120, rounds=7),
}


def batches(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Vectors with labels, other ones on each rank."""
    generator = torch.Generator().manual_seed(int(os.environ["RANK"]))
    return [
        (
            torch.randn(32, 64, generator=generator),
            torch.randint(0, 10, (32,), generator=generator),
        )
        for _ in range(steps)
    ]


def build(widths: Sequence[int]) -> nn.Module:
    """The model, from the same seed each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Timed(list[Any]):
    """A list of batches; notes when the first one after a warm-up, and the end, was asked for."""

    seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(super().__iter__()):
            if index == WARM_UP:
                dist.barrier()
                started = perf_counter()
            yield batch
        dist.barrier()
        self.seconds = perf_counter() - started


def by_hand(widths: Sequence[int], data: Timed) -> None:
    """The loop that everybody writes."""
    model = DistributedDataParallel(build(widths), gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    total = torch.zeros(())
    for number, (inputs, target) in enumerate(data, start=1):
        loss = loss_of(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
        if number % LOG_EVERY == 0:
            dist.all_reduce(total)
            total.item()
            total.zero_()


def by_trainer(widths: Sequence[int], data: Timed) -> None:
    """The same steps by the trainer."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            build(widths),
            loss=nn.CrossEntropyLoss(),
            optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3),
            defaults=False,
            settings=Settings(
                device="cpu",
                directory=directory,
                strategy=DDP(),
                log_every=f"{LOG_EVERY} steps",
            ),
        )
        trainer.fit(data, epochs=1)


def seconds(loop: Callable[[Sequence[int], Timed], None], workload: Workload) -> float:
    """How long a step after the warm-up takes."""
    data = Timed(batches(workload.steps))
    loop(workload.widths, data)
    return data.seconds / (workload.steps - WARM_UP)


def of_workload(name: str, workload: Workload) -> list[Figure]:
    """The ratio, and the least time of a step by hand."""
    what = f"step on 2 ranks, {name}, over a hand-written DDP loop"
    plain: list[float] = []

    def hand() -> float:
        plain.append(seconds(by_hand, workload))
        return plain[-1]

    figures = ratios(
        {what: partial(seconds, by_trainer, workload)},
        hand,
        rounds=workload.rounds,
        budgets={what: BUDGET},
    )
    return [*figures, Figure(f"step on 2 ranks, {name}, by hand", min(plain) * 1e3, "ms")]


def stay_on_a_core(rank: int) -> None:
    """Keep this process, and its threads to come, on one of the cores it may use."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


def work(result: Path) -> None:
    """What each of the two processes does; the first one writes the figures down."""
    torch.set_num_threads(1)
    stay_on_a_core(int(os.environ["RANK"]))
    world = join("cpu")
    figures = [figure for name, load in WORKLOADS.items() for figure in of_workload(name, load)]
    if world.is_global_zero:
        result.write_text(json.dumps([asdict(figure) for figure in figures]))
    leave()


def measure() -> list[Figure]:
    """All figures of a step on two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        rounds = [] if report.MOST_ROUNDS is None else [str(report.MOST_ROUNDS)]
        command = [sys.executable, "-m", "benchmarks.two_ranks", "--work", str(result), *rounds]
        code = launch(command, 2)
        if code:
            raise SystemExit(code)
        return [Figure(**fields) for fields in json.loads(result.read_text())]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        report.MOST_ROUNDS = int(sys.argv[3]) if sys.argv[3:] else None
        work(Path(sys.argv[2]))
    else:
        main("two_ranks", measure)
