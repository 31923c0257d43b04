"""Steps as compiled graphs, beside the raw loop: on a CPU, in one thread, with the default set.

An MLP with batches of 32, a small GPT, and a ResNet-9 on images of 32 x 32. The variants take turns
in one process; compiling comes before the steps that are timed. How far the weights are from
those of the eager run, after as many steps, stands beside it.

    python -m benchmarks.fast_steps
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import Figure, main, quiet, ratios
from benchmarks.step import time_of
from benchmarks.task import Task, raw_loop
from benchmarks.workloads import MLP, RESNET9, SMALL_GPT, Workload
from trackside import Callback, Run, Settings, Trainer

ROUNDS = 9


class Watching(Callback[Run]):
    """Overrides every hook inside of a step, and does nothing there."""

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        """Nothing."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Nothing."""

    def on_optimizer_step_start(self, run: Run, optimizer: torch.optim.Optimizer) -> None:
        """Nothing."""


def fitted(
    data: Any, task: Task, way: Any, callbacks: Iterable[Callback[Any]] = ()
) -> list[Tensor]:
    """The weights after these steps with the default callbacks."""
    model, loss_function, optimizer_of = task()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            callbacks=callbacks,
            settings=Settings(device="cpu", directory=folder, step=way),
        ).fit(data, epochs=1)
    return [p.detach() for p in model.parameters()]


def speed(load: Workload, budget: float | None, *, compiles: bool = True) -> list[Figure]:
    """Times of a workload's steps over the raw loop's."""
    task, data = load.task, load.data(load.steps)
    raw = partial(raw_loop, task=task)
    ways = {"eager": quiet(partial(fitted, task=task, way="eager"))}
    if compiles:
        ways |= {
            "compiled": quiet(partial(fitted, task=task, way="compiled")),
            "compiled, hooks in each": quiet(
                lambda data: fitted(data, task, "compiled", [Watching()])
            ),
        }
    names = {f"{load.name}, {way}, over a raw loop": loop for way, loop in ways.items()}
    return ratios(
        {figure: partial(time_of, loop, data) for figure, loop in names.items()},
        lambda: time_of(raw, data),
        rounds=ROUNDS,
        budgets={} if budget is None else {f"{load.name}, compiled, over a raw loop": budget},
    )


def distance(load: Workload) -> list[Figure]:
    """How far the weights of a compiled run are from those of an eager one, over their size."""
    data = load.data(load.steps)
    eager, compiled = (quiet(fitted)(data, load.task, way) for way in ("eager", "compiled"))
    apart = sum(float((a - b).square().sum()) for a, b in zip(eager, compiled, strict=True))
    size = sum(float(a.square().sum()) for a in eager)
    what = f"{load.name}, weights after {len(data)} steps: distance from eager ones"
    return [Figure(what, math.sqrt(apart / size), "of their norm")]


def measure() -> list[Figure]:
    """All figures."""
    torch.set_num_threads(1)
    return [
        *speed(MLP, 0.6),
        *distance(MLP),
        *speed(SMALL_GPT, None),
        *distance(SMALL_GPT),
        *speed(
            RESNET9, None, compiles=False
        ),  # whose graphs take a minute to be made, for what a library computes anyway
    ]


if __name__ == "__main__":
    main("fast_steps", measure)
