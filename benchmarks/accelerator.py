"""Costs on an accelerator: a step with small batches, and a save from its start to its end.

MLP 64-128-10 on batches of 32 in host memory, beside the raw loop; and a model with its AdamW
state, saved four times while it trains. On a machine without an accelerator it runs on the CPU,
small, to try it.

    python -m benchmarks.accelerator
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import Figure, main, ratios
from benchmarks.step import time_of
from benchmarks.task import batches, build
from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.machine.accelerator import accelerator

FOUND = accelerator()
DEVICE = FOUND or torch.device("cpu")
STEPS, ROUNDS = (300, 5) if FOUND else (60, 2)
WIDTH, LAYERS, SAVED_STEPS = (2048, 12, 900) if FOUND else (64, 2, 120)
REST_STEPS = 20
"""Between the end of a save and the next."""


def synchronize() -> None:
    """Wait for the device."""
    if FOUND is not None:
        torch.accelerator.synchronize()


# --- a step --------------------------------------------------------------------------------------


def raw(data: Iterable[Any]) -> None:
    """The loop written by hand, which moves each batch itself."""
    model, loss_function, optimizer_of = build()
    model.to(DEVICE)
    optimizer = optimizer_of(model.parameters())
    for inputs, target in data:
        loss = loss_function(model(inputs.to(DEVICE)), target.to(DEVICE))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def ours(data: Iterable[Any], *, fused: bool = False, **settings: Any) -> None:
    """The trainer without callbacks."""
    model, loss_function, optimizer_of = build()
    if fused:
        optimizer_of = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            defaults=False,
            settings=Settings(directory=folder, device=DEVICE, log_every="10000 steps", **settings),
        ).fit(data, epochs=1)


def steps() -> list[Figure]:
    """Time of a step over the raw loop's."""
    data = batches(STEPS)
    variants: dict[str, Callable[[Any], object]] = {
        "as it comes": ours,
        "one batch ahead": partial(ours, prefetch_batches=1),
        "fused": partial(ours, fused=True),
    }
    if DEVICE.type == "cuda":
        variants["captured"] = partial(ours, fused=True, step="captured")
    names = {
        f"step, batches of 8 KiB, {name}, over a raw loop": one for name, one in variants.items()
    }
    return ratios(
        {name: partial(time_of, loop, data, wait=synchronize) for name, loop in names.items()},
        lambda: time_of(raw, data, wait=synchronize),
        rounds=ROUNDS,
        budgets={
            name: budget
            for name, budget in zip(names, (1.06, None, None, 0.25), strict=False)
            if budget is not None
        },
    )


# --- saves ---------------------------------------------------------------------------------------


class Saves(Callback[Run]):
    """Asks for four saves, one after the other; times every step, and whether one was written."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.writing: list[bool] = []
        self.asked: list[int] = []
        self._rest = REST_STEPS

    def on_step_end(self, run: Run) -> None:
        synchronize()
        self.times.append(perf_counter())
        writing = run.saver is not None and run.saver.is_writing
        self.writing.append(writing)
        self._rest = REST_STEPS if writing else self._rest - 1
        if self._rest < 0 and len(self.asked) < 4:
            run.save("to be timed")
            self.asked.append(len(self.times))
            self._rest = REST_STEPS


def large() -> nn.Module:
    """A model whose state with AdamW's has 4.8 GB (on a CPU: 0.5 MB)."""
    torch.manual_seed(0)
    wide = 4 * WIDTH
    return nn.Sequential(
        *(part for _ in range(LAYERS) for part in (nn.Linear(WIDTH, wide), nn.Linear(wide, WIDTH)))
    )


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4, fused=FOUND is not None)


def one_copy_seconds() -> float:
    """Seconds to copy weights and AdamW's state to host memory that is there."""
    model = large().to(DEVICE)
    tensors: list[Tensor] = [p.detach() for p in model.parameters() for _ in range(3)]
    pinned = FOUND is not None
    buffers = [torch.empty(t.shape, dtype=t.dtype, pin_memory=pinned) for t in tensors]
    times = []
    for _ in range(3):
        synchronize()
        started = perf_counter()
        for buffer, tensor in zip(buffers, tensors, strict=True):
            buffer.copy_(tensor, non_blocking=True)
        synchronize()
        times.append(perf_counter() - started)
    return min(times)


def saves() -> list[Figure]:
    """How long each save keeps the loop, and what steps take while one is written."""
    copy = one_copy_seconds()
    generator = torch.Generator().manual_seed(0)
    data = [tuple(torch.randn(2, 64, WIDTH, generator=generator))] * SAVED_STEPS
    clock = Saves()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            large,
            loss=nn.MSELoss(),
            optimizer=adamw,
            defaults=False,
            callbacks=[clock, Checkpoint(every=None, keep_last=1, at_end=False)],
            settings=Settings(directory=folder, device=DEVICE, log_every="10000 steps"),
        ).fit(data, epochs=1)
    took = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
    written = [t for t, busy in zip(took, clock.writing[1:], strict=True) if busy]
    quiet = statistics.median(t for t, b in zip(took, clock.writing[1:], strict=True) if not b)
    figures = [
        Figure("one copy of the state to the host", copy, "s"),
        *(
            Figure(
                f"save {number}: the loop stands, over one copy",
                (took[step - 1] - quiet) / copy,
                "ratio",
                1.3 if FOUND else None,
            )
            for number, step in enumerate(clock.asked, start=1)
        ),
        Figure("step while nothing is written", 1e3 * quiet, "ms"),
    ]
    if written:
        slower = statistics.median(written) / quiet
        figures.append(Figure("step while a save is written, over one without", slower, "ratio"))
        figures.append(
            Figure(
                "time lost to slower steps, for each save",
                sum(t - quiet for t in written) / len(clock.asked),
                "s",
            )
        )
    return figures


def measure() -> list[Figure]:
    """All figures of an accelerator."""
    return [*steps(), *saves()]


if __name__ == "__main__":
    main("accelerator", measure)
