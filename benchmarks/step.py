"""What a step costs beyond the raw loop: time as a ratio, bytecodes as a count.

MLP 64-128-10, batch 32, in-memory batches, one thread. The variants take turns in one process, so
that noise hits all alike; medians and spread of the ratios are printed. Bytecodes are counted by
tracing opcodes over the same steps: free of noise.

    python -m benchmarks.step
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from types import FrameType
from typing import Any

import torch
from torch import nn

from benchmarks.report import Figure, main
from trackside import Callback, Settings, Trainer
from trackside.run import Run

STEPS = 300
ROUNDS = 15
COUNTED_STEPS = 60


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches of random images-as-vectors with labels."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(32, 64, generator=generator),
            torch.randint(0, 10, (32,), generator=generator),
        )
        for _ in range(count)
    ]


def build() -> tuple[nn.Module, nn.Module, Callable[[Iterable[nn.Parameter]], Any]]:
    """Model, loss, and optimizer factory, from the same seed each time."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, nn.CrossEntropyLoss(), lambda p: torch.optim.AdamW(p, lr=1e-3)


def raw_loop(data: list[Any]) -> None:
    """The loop that everybody writes by hand."""
    model, loss_function, optimizer_of = build()
    optimizer = optimizer_of(model.parameters())
    model.train()
    for inputs, target in data:
        loss = loss_function(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


class Idle(Callback[Any]):
    """Overrides nothing that happens in a step."""

    def on_fit_start(self, run: Run) -> None:
        """Nothing."""


class Listening(Callback[Any]):
    """Overrides the batch's end, and does nothing there."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Nothing."""


def fit(
    data: list[Any], callbacks: Iterable[Callback[Any]] = (), *, defaults: bool = False
) -> None:
    """The same steps by the trainer."""
    model, loss_function, optimizer_of = build()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            callbacks=callbacks,
            defaults=defaults,
            settings=Settings(device="cpu", directory=directory),
        )
        trainer.fit(data, epochs=1)


VARIANTS: dict[str, Callable[[list[Any]], None]] = {
    "bare trainer": fit,
    "with default callbacks": lambda data: fit(data, defaults=True),
    "with 10 idle callbacks": lambda data: fit(data, [Idle() for _ in range(10)]),
    "with 10 callbacks at the batch's end": lambda data: fit(
        data, [Listening() for _ in range(10)]
    ),
}


class Timed:
    """Batches in memory; notes when the first one after a warm-up, and the end, was asked for."""

    def __init__(self, data: list[Any], warm_up: int) -> None:
        self._data = data
        self._warm_up = warm_up
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(self._data):
            if index == self._warm_up:
                started = perf_counter()
            yield batch
        self.seconds = perf_counter() - started


def time_of(loop: Callable[[Any], None], data: list[Any]) -> float:
    """Seconds for the steps after the first tenth."""
    timed = Timed(data, len(data) // 10)
    loop(timed)
    return timed.seconds


def bytecodes_of(loop: Callable[[list[Any]], None]) -> float:
    """Python bytecodes per step, from the difference of two lengths."""

    def count(steps: int) -> int:
        total = 0

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal total
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            total += event == "opcode"
            return trace

        data = batches(steps)
        sys.settrace(trace)
        try:
            loop(data)
        finally:
            sys.settrace(None)
        return total

    # Steps 10 to 40: between two records, where nothing is due.
    return (count(40) - count(10)) / 30


def measure() -> list[Figure]:
    """All figures of a step."""
    torch.set_num_threads(1)
    data = batches(STEPS)
    ratios: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for loop in (raw_loop, *VARIANTS.values()):
        loop(data)
    for _ in range(ROUNDS):
        for name, loop in VARIANTS.items():
            raw = time_of(raw_loop, data)
            mine = time_of(loop, data)
            raw = (raw + time_of(raw_loop, data)) / 2
            ratios[name].append(mine / raw)
    budgets = {"bare trainer": 1.03, "with default callbacks": 1.06}
    figures = [
        Figure(
            f"step, {name}, over a raw loop",
            statistics.median(values),
            "ratio",
            budgets.get(name),
            spread=(min(values), max(values)),
        )
        for name, values in ratios.items()
    ]
    own = bytecodes_of(raw_loop)
    for name, loop in VARIANTS.items():
        budget = 300.0 if name == "bare trainer" else None
        figures.append(
            Figure(
                f"step, {name}: bytecodes beyond the raw loop's",
                bytecodes_of(loop) - own,
                "bytecodes",
                budget,
            )
        )
    return figures


if __name__ == "__main__":
    main("step", measure)
