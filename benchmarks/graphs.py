"""Captured steps beside the raw loop and beside a graph by hand, on an accelerator that has graphs.

An MLP, a small GPT and one that keeps the device busy, the last two in bf16; the default callbacks
are on. A graph by hand is what the captured steps can't be faster than. `make accelerator` runs it;
elsewhere there is nothing to measure.

    python -m benchmarks.graphs
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.accelerator import DEVICE, synchronize
from benchmarks.report import Figure, main, quiet, ratios
from benchmarks.step import time_of
from benchmarks.task import batches, build
from benchmarks.workloads import GPT, Workload, task_of, texts
from trackside import Settings, Trainer
from trackside.step.capturing import GRAPHS, Graphs, buffers_for, fill
from trackside.step.optimization import drop_gradients

ROUNDS = 9
WARM_UP = 3
"""Steps before one is recorded: what torch makes at first is there then."""


@dataclass(frozen=True)
class Case:
    """A workload, its precision, and the aim of its captured steps over the raw loop's."""

    load: Workload
    precision: Literal["fp32", "bf16"]
    budget: float

    @property
    def autocast(self) -> AbstractContextManager[Any]:
        """What a forward pass by hand is done in."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(DEVICE.type, torch.bfloat16)


def gpt(layers: int, width: int, length: int, steps: int) -> Workload:
    """A GPT with a fused AdamW, on batches of 16 texts."""
    return Workload(
        f"GPT of {layers} layers, {width} wide, 16 texts of {length}",
        task_of(partial(GPT, layers, width, length), fused=True),
        partial(texts, size=16, length=length),
        steps,
    )


CASES = (
    Case(Workload("MLP", task_of(lambda: build()[0], fused=True), batches, 500), "fp32", 0.25),
    Case(gpt(6, 384, 256, 100), "bf16", 0.35),
    Case(gpt(12, 768, 512, 60), "bf16", 1.0),
)


class ByHand:
    """A model in training, without a trainer."""

    def __init__(self, case: Case) -> None:
        self.model, self._loss, optimizer_of = case.load.task()
        self.model.to(DEVICE).train()
        self._optimizer = optimizer_of(self.model.parameters())
        self._case = case

    def step(self, batch: tuple[Tensor, Tensor]) -> None:
        """One update."""
        inputs, target = batch
        with self._case.autocast:
            loss = self._loss(self.model(inputs), target)
        loss.backward()
        self._optimizer.step()
        drop_gradients(self._optimizer)

    def let_be_recorded(self) -> None:
        """Torch wants to be told that the optimizer's numbers are on the device: it is fused."""
        for group in self._optimizer.param_groups:
            group["capturable"] = True


def raw(case: Case, data: Any) -> nn.Module:
    """The loop written by hand, one operation after the other."""
    training = ByHand(case)
    for batch in data:
        training.step([part.to(DEVICE, non_blocking=True) for part in batch])  # type: ignore[arg-type]
    return training.model


def raw_graph(case: Case, data: Any, graphs: Graphs | None = None) -> nn.Module:
    """The same as a graph by hand: batches are copied to fixed memory, and the step is repeated."""
    training, graphs = ByHand(case), graphs or GRAPHS[DEVICE.type]()
    buffers: Any = None
    for number, batch in enumerate(data):
        if buffers is None:
            buffers = buffers_for(batch, DEVICE)
        fill(buffers, batch)
        if number < WARM_UP:
            training.step(buffers)
            continue
        if number == WARM_UP:
            training.let_be_recorded()
            replay, _ = graphs.capture(partial(training.step, buffers), ())
        replay()
    return training.model


def ours(case: Case, way: Literal["eager", "captured"], data: Any) -> nn.Module:
    """The trainer with its default callbacks."""
    model, loss, optimizer_of = case.load.task()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            loss=loss,
            optimizer=optimizer_of,
            precision=case.precision,
            settings=Settings(device=DEVICE, directory=folder, step=way),
        ).fit(data, epochs=1)
    return model


def of_case(case: Case) -> list[Figure]:
    """All figures of one workload."""
    data, name = case.load.data(case.load.steps), case.load.name
    # Graphs are made in the first fifth.
    turn = partial(partial, time_of, data=data, warm_up=0.2, wait=synchronize)
    captured = turn(quiet(partial(ours, case, "captured")))
    eager = turn(quiet(partial(ours, case, "eager")))
    graph = turn(partial(raw_graph, case))
    return [
        *ratios(
            {
                f"{name}, eager, over a raw loop": eager,
                f"{name}, captured, over a raw loop": captured,
                f"{name}, a graph by hand, over a raw loop": graph,
            },
            turn(partial(raw, case)),
            rounds=ROUNDS,
            budgets={f"{name}, captured, over a raw loop": case.budget},
        ),
        *ratios({f"{name}, captured, over a graph by hand": captured}, graph, rounds=ROUNDS),
    ]


def measure() -> list[Figure]:
    """All figures of captured steps; none where the device has no graphs."""
    if DEVICE.type not in GRAPHS:
        print(f"{DEVICE.type} has no graphs: captured steps are not measured")
        return []
    return [figure for case in CASES for figure in of_case(case)]


if __name__ == "__main__":
    main("graphs", measure)
