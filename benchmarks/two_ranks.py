"""What agreement and metrics cost on two ranks: a step of the trainer over a hand-written DDP loop.

Two processes on the CPU with gloo, one thread each, 32 samples per rank and step. In the same
processes the trainer and the loop take turns, so that noise hits both alike; medians and spread of
the ratios are printed. Both take the same batches out of memory, through the same
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
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.report import Figure, main, ratios
from trackside import Settings, Trainer
from trackside.distributed import DDP, join, launch, leave

STEPS, WARM_UP, LOG_EVERY = 170, 20, 50
ROUNDS = 9
WIDTHS = {"MLP 64-128-10": (64, 128, 10), "MLP 64-1024-1024-10": (64, 1024, 1024, 10)}
BUDGET = 1.05


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Vectors with labels, other ones on each rank."""
    generator = torch.Generator().manual_seed(int(os.environ["RANK"]))
    return [
        (
            torch.randn(32, 64, generator=generator),
            torch.randint(0, 10, (32,), generator=generator),
        )
        for _ in range(STEPS)
    ]


def build(widths: Sequence[int]) -> nn.Module:
    """The model, from the same seed each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Timed(Sequence[Any]):
    """Batches in memory; notes when the first one after a warm-up, and the end, was asked for."""

    def __init__(self, data: list[Any]) -> None:
        self._data = data
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return self._data[index]

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(self._data):
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
                parallel=DDP(),
                log_every=f"{LOG_EVERY} steps",
            ),
        )
        trainer.fit(data, epochs=1)


def seconds(loop: Callable[[Sequence[int], Timed], None], widths: Sequence[int]) -> float:
    """How long the steps after the warm-up take."""
    data = Timed(batches())
    loop(widths, data)
    return data.seconds


def work(result: Path) -> None:
    """What each of the two processes does; the first one writes the figures down."""
    torch.set_num_threads(1)
    world = join("cpu")
    figures: list[Figure] = []
    for name, widths in WIDTHS.items():
        what = f"step on 2 ranks, {name}, over a hand-written DDP loop"
        figures += ratios(
            {what: lambda widths=widths: seconds(by_trainer, widths)},
            lambda widths=widths: seconds(by_hand, widths),
            rounds=ROUNDS,
            budgets={what: BUDGET},
        )
        plain = min(seconds(by_hand, widths) for _ in range(3)) / (STEPS - WARM_UP)
        figures.append(Figure(f"step on 2 ranks, {name}, by hand", plain * 1e3, "ms"))
    if world.is_global_zero:
        result.write_text(json.dumps([asdict(figure) for figure in figures]))
    leave()


def measure() -> list[Figure]:
    """All figures of a step on two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        code = launch([sys.executable, "-m", "benchmarks.two_ranks", "--work", str(result)], 2)
        if code:
            raise SystemExit(code)
        return [Figure(**fields) for fields in json.loads(result.read_text())]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]))
    else:
        main("two_ranks", measure)
