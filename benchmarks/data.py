"""Whole epochs over data that is in memory as tensors: the trainer, and a loop with a DataLoader.

20,000 samples of 64 features in shuffled batches of 32, MLP 64-128-10, AdamW, one thread. The raw
loop takes them from the DataLoader that everybody would write; the trainer gets the same one, or
the data set or arrays themselves. That order and values are the same is held by
`tests/data/test_tensors.py`.

    python -m benchmarks.data
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.report import Figure, main, ratios
from benchmarks.task import build, raw_loop
from trackside import Settings, Trainer

SAMPLES = 20_000
BATCH = 32
ROUNDS = 9


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of shape `(N, 64)` and labels of shape `(N)`."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, 64, generator=generator)
    return inputs, torch.randint(0, 10, (SAMPLES,), generator=generator)


def loader() -> DataLoader[Any]:
    """As everybody writes it."""
    return DataLoader(TensorDataset(*tensors()), batch_size=BATCH, shuffle=True)


def raw(data: Any) -> float:
    started = perf_counter()
    torch.manual_seed(1)
    raw_loop(data)
    return perf_counter() - started


def trained(data: Any) -> float:
    """Seconds of one `fit` over `data`."""
    model, loss_function, optimizer_of = build()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            defaults=False,
            settings=Settings(device="cpu", directory=directory),
        )
        started = perf_counter()
        size = None if isinstance(data, DataLoader) else BATCH
        trainer.fit(data, epochs=1, batch_size=size)
        return perf_counter() - started


class Passing:
    """A loop that only takes the batches: what the way to the data costs."""

    def __init__(self, batches: Callable[[], Any]) -> None:
        self._batches = batches

    def __call__(self) -> float:
        started = perf_counter()
        for _ in self._batches():
            pass
        return perf_counter() - started


def measure() -> list[Figure]:
    """All figures of data in memory."""
    from trackside.data.source import DataSource

    torch.set_num_threads(1)
    inputs, target = tensors()
    own, ours = loader(), loader()
    arrays = (inputs.numpy(), target.numpy())
    source = DataSource("train", ours, BATCH)
    name = "epoch over a TensorDataset, over a raw loop with a DataLoader"
    return [
        *ratios(
            {
                f"{name}: the same DataLoader": lambda: trained(ours),
                f"{name}: the data set": lambda: trained(ours.dataset),
                f"{name}: NumPy arrays": lambda: trained(arrays),
            },
            lambda: raw(own),
            rounds=ROUNDS,
            budgets={f"{name}: the same DataLoader": 1.0},
        ),
        *ratios(
            {"taking the batches alone, over the DataLoader": Passing(lambda: source.begin(0))},
            Passing(lambda: own),
            rounds=ROUNDS,
        ),
    ]


if __name__ == "__main__":
    main("data", measure)
