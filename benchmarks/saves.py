"""How much longer a run gets by each save in the background: the wait, and slower steps after it.

A 100 MB model with its AdamW state (302 MB in 1520 tensors) is saved while a small model takes
steps, on one core of two. A thread and a process write it in turns; the figure is the lengthening
by each save, over one copy of the same tensors into memory that is there already. The first save of
a run is compared with its third: how long each keeps the loop.

    python -m benchmarks.saves
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.checkpoint import LAST, build, state_of, tensors_of
from benchmarks.report import Figure, at_most, main, median
from trackside.checkpoint import CheckpointWriter, Saving

ROUNDS = 9
SAVES = 2
STEPS = 1500
"""Between two saves, so that each is written before the next: about half a second."""
WRITERS: tuple[Literal["thread", "process"], ...] = ("thread", "process")
BUDGET = 1.5

State = dict[str, Any]


class SmallSteps:
    """A training that is all interpreter: a small model with AdamW."""

    def __init__(self) -> None:
        self.model, self.optimizer = build(64, 2)
        self.inputs = torch.randn(32, 64)

    def take(self, count: int) -> None:
        """Take so many steps."""
        for _ in range(count):
            self.model(self.inputs).sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


@contextmanager
def writing(kind: Literal["thread", "process"], state: State) -> Iterator[CheckpointWriter]:
    """A writer as a run has it after its first step: with its memory."""
    with tempfile.TemporaryDirectory() as folder:
        writer = CheckpointWriter(Path(folder), "run", writer=kind, retention=LAST)
        writer.prepare(state)
        writer.allocate(state)
        try:
            yield writer
        finally:
            writer.close()
            writer.end()


def run(steps: SmallSteps, state: State, writer: CheckpointWriter | None = None) -> float:
    """Seconds of a run, with some saves by a writer or without."""
    started = perf_counter()
    for number in range(SAVES):
        if writer is not None:
            writer.save(state, Saving(step=number))
        steps.take(STEPS)
    return perf_counter() - started


def copying(state: State) -> Callable[[], float]:
    """One copy of all tensors, in seconds."""
    tensors = tensors_of(state)
    buffers = [torch.zeros_like(tensor) for tensor in tensors]

    def copy() -> float:
        started = perf_counter()
        for buffer, tensor in zip(buffers, tensors, strict=True):
            buffer.copy_(tensor)
        return perf_counter() - started

    return copy


def delays(state: State) -> list[Figure]:
    """The lengthening of a run by each of its saves."""
    steps, copy = SmallSteps(), copying(state)
    found: dict[str, list[float]] = {kind: [] for kind in WRITERS}
    with writing("thread", state) as thread, writing("process", state) as process:
        writers = {"thread": thread, "process": process}
        for writer in writers.values():
            run(steps, state, writer)
        before = run(steps, state)
        for _ in range(at_most(ROUNDS)):
            for who, writer in writers.items():
                own = run(steps, state, writer)
                writer.close()
                after = run(steps, state)
                one = min(copy() for _ in range(3))
                found[who].append((own - (before + after) / 2) / SAVES / one)
                before = after
    name = "run lengthened by each save that a {} writes, over one copy"
    return [
        median(name.format(kind), found[kind], budget=BUDGET if kind == "process" else None)
        for kind in WRITERS
    ]


def first_saves(state: State) -> list[Figure]:
    """How long the first save of a run keeps the loop, and the third."""
    steps, copy = SmallSteps(), copying(state)
    numbers = (1, 3)
    found: dict[tuple[str, int], list[float]] = {(k, n): [] for k in WRITERS for n in numbers}
    for _ in range(at_most(ROUNDS)):
        for kind in WRITERS:
            with writing(kind, state) as writer:
                steps.take(STEPS)
                for number in (1, 2, 3):
                    started = perf_counter()
                    writer.save(state, Saving(step=number))
                    seconds = perf_counter() - started
                    writer.close()
                    if number != 2:
                        found[kind, number].append(seconds / min(copy() for _ in range(3)))
    return [
        median(f"loop kept by save number {number} of a run, by a {who}, over one copy", values)
        for (who, number), values in found.items()
    ]


def measure() -> list[Figure]:
    """All figures of saves in the background."""
    torch.set_num_threads(1)
    model: tuple[nn.Module, torch.optim.Optimizer] = build(512, 95)
    state = state_of(*model)
    return [*delays(state), *first_saves(state)]


if __name__ == "__main__":
    main("saves", measure)
