"""What a checkpoint costs: how long it keeps the loop, and how fast it is written and read.

A 100 MB model with its AdamW state (300 MB in 1520 tensors). Each figure is a ratio to the plain
thing done by hand in the same process, taking turns: to one copy of the same tensors into memory
that is there already, and to writing (with a flush) or reading the same bytes as one file.

    python -m benchmarks.checkpoint
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.report import Figure, at_most, main, median
from trackside.checkpoint import CheckpointWriter, Retention, Saving, newest_valid
from trackside.data.source import DataSource

Reading = Sequence[float]
"""Seconds by one clock or several."""

ROUNDS = 7
TURNS = 3
LAST = Retention(keep_last=1)


def build(width: int, layers: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model after one step, so that AdamW has its state."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)) for _ in range(layers)]
    model = nn.Sequential(*blocks)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, width)).sum().backward()
    optimizer.step()
    return model, optimizer


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"models": {"model": model.state_dict()}, "optimizers": [optimizer.state_dict()]}


def tensors_of(state: dict[str, Any]) -> list[torch.Tensor]:
    slots = state["optimizers"][0]["state"].values()
    return [*state["models"]["model"].values(), *(t for slot in slots for t in slot.values())]


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    started = perf_counter()
    yield
    into.append(perf_counter() - started)


def against(
    name: str,
    mine: Callable[[], float],
    plain: Callable[[], float],
    *,
    budget: float | None = None,
) -> Figure:
    """The ratio of the one to the other, and its spread."""
    found = in_turns(lambda: [mine()], lambda: [plain()])
    return median(name, found[0], budget=budget)


def in_turns(mine: Callable[[], Reading], plain: Callable[[], Reading]) -> list[list[float]]:
    """By clock: the ratio of the one to the other in each round."""
    mine(), plain()  # what is done once is done
    ratios = []
    for _ in range(at_most(ROUNDS)):
        # The least of a few turns: what another process takes away is not what this is about.
        others, owns = [plain()], []
        for _ in range(TURNS):
            owns.append(mine())
            others.append(plain())
        least = (map(min, zip(*turns, strict=True)) for turns in (owns, others))
        ratios.append([own / other for own, other in zip(*least, strict=True)])
    return [list(found) for found in zip(*ratios, strict=True)]


class Files:
    """Writing and reading as many bytes by hand, as one file."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / "plain"
        self._data = memoryview(os.urandom(2**22) * (size_bytes // 2**22 + 1))[:size_bytes]

    def write(self) -> float:
        self._path.unlink(missing_ok=True)
        started = perf_counter()
        with self._path.open("wb", buffering=0) as file:
            for start in range(0, len(self._data), 2**22):
                file.write(self._data[start : start + 2**22])
            os.fsync(file.fileno())
        return perf_counter() - started

    def read(self) -> float:
        started = perf_counter()
        self._path.read_bytes()
        return perf_counter() - started


def now() -> Reading:
    """The clock on the wall, and the processor time of this thread."""
    return perf_counter(), thread_time()


def since(started: Reading) -> Reading:
    """Seconds since then, by both."""
    return [b - a for a, b in zip(started, now(), strict=True)]


def blocking(folder: Path, state: dict[str, Any]) -> list[Figure]:
    """How long an asynchronous save keeps the loop."""
    writer = CheckpointWriter(folder, "blocking", retention=LAST)
    tensors = tensors_of(state)
    buffers = [torch.empty_like(tensor) for tensor in tensors]

    def copy() -> Reading:
        started = now()
        for buffer, tensor in zip(buffers, tensors, strict=True):
            buffer.copy_(tensor)
        return since(started)

    def save() -> Reading:
        started = now()
        writer.save(state, Saving(step=1))
        took = since(started)
        writer.close()
        return took

    wall, thread = in_turns(save, copy)
    return [
        median("loop blocked by an asynchronous save, over one copy", wall, budget=1.3),
        # The call waits for nothing but the processor: on a busy machine this is the truer figure.
        median("the same in processor time of the loop's thread", thread),
    ]


def throughput(folder: Path, state: dict[str, Any]) -> list[Figure]:
    """How fast a checkpoint is written and read."""
    writer = CheckpointWriter(folder, "throughput", background=False, retention=LAST)
    size_bytes = sum(tensor.nbytes for tensor in tensors_of(state))
    files = Files(folder, size_bytes)

    def save() -> float:
        writer.save(state, Saving(step=1))
        return writer.poll()[0].seconds_writing

    def load() -> float:
        started = perf_counter()
        selection = newest_valid(folder)
        assert selection is not None
        selection.checkpoint.state()
        return perf_counter() - started

    return [
        against("save (digest and flush), over writing and flushing the bytes", save, files.write),
        against("load (verified), over reading the bytes", load, files.read),
    ]


def small_saves(folder: Path) -> list[Figure]:
    """What a save costs when there is next to nothing to write."""
    writer = CheckpointWriter(folder, "small", background=False, retention=LAST)
    state = state_of(*build(64, 2))
    all_seconds: list[float] = []
    for step in range(30):
        with timed(all_seconds):
            writer.save(state, Saving(step=step))
    milliseconds = [1000 * seconds for seconds in all_seconds[5:]]
    return [median("save of 0.1 MB with digest and flush", milliseconds, "ms")]


class Million(Dataset[int]):
    """A million samples; counts those that are loaded."""

    loaded = 0

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> int:
        self.loaded += 1
        return index


def resume() -> list[Figure]:
    """The first batch of a pass taken up in the middle of a million samples."""
    data = Million()
    loader = DataLoader(data, batch_size=32, shuffle=True)
    middle = len(loader) // 2
    state = _position(loader)

    def begun() -> float:
        source = DataSource("train", loader, 32)
        started = perf_counter()
        next(source.begin(0))
        return perf_counter() - started

    def resumed() -> float:
        source = DataSource("train", loader, 32)
        source.load_state_dict(state)
        started = perf_counter()
        next(source.resume(0, middle))
        return perf_counter() - started

    name = "first batch after a resume in the middle of 1,000,000 shuffled samples"
    before = data.loaded
    resumed()
    thrown_away = data.loaded - before - 32
    return [
        against(f"{name}, over the first batch of a pass", resumed, begun),
        Figure(f"{name}: samples loaded to be thrown away", thrown_away, "samples", 0.0),
    ]


def _position(loader: DataLoader[Any]) -> dict[str, Any]:
    source = DataSource("train", loader, 32)
    source.begin(0)
    return source.state_dict()


def measure() -> list[Figure]:
    """All figures of a checkpoint."""
    torch.set_num_threads(1)
    state = state_of(*build(512, 95))
    figures: list[Figure] = []
    for part in (
        lambda folder: blocking(folder, state),
        lambda folder: throughput(folder, state),
        small_saves,
        lambda folder: resume(),
    ):
        with tempfile.TemporaryDirectory() as folder:
            figures += part(Path(folder))
    return figures


if __name__ == "__main__":
    main("checkpoint", measure)
