"""States and ranks that several tests of checkpoints share."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")


def small_state(seed: int = 0) -> dict[str, Any]:
    """A model, an optimizer and a callback with something of most kinds, a few kilobytes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "model": {"weight": torch.randn(8, 4, generator=generator), "bias": torch.zeros(8)},
        "optimizers": [
            {"state": {0: {"step": torch.tensor(float(seed))}}, "param_groups": [{"lr": 0.1}]}
        ],
        "callbacks": {"early_stopping": {"best": 0.5, "waited": 3}, "window": (1, 2)},
    }


def rank_state(seed: int = 0) -> dict[str, Any]:
    """What a rank alone knows."""
    return {
        "python": random.Random(seed).getstate(),
        "numpy": np.random.default_rng(seed).bit_generator.state,
        "torch": torch.Generator().manual_seed(seed).get_state(),
        "position": seed,
    }


def equal(a: Any, b: Any) -> bool:
    """Whether two states are the same, in values, types and dtypes."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape
        return same and bool(torch.equal(_bits(a), _bits(b)))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float) and a != a:
        return b != b
    return bool(a == b)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


class ThreadRanks:
    """Ranks as threads of one process: `gather` meets at a barrier."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, table: list[Any]) -> None:
        self.rank = rank
        self.size = size
        self._meeting = meeting
        self._table = table

    def gather(self, value: Any, /) -> list[Any]:
        self._table[self.rank] = value
        self._meeting.wait()
        gathered = list(self._table)
        self._meeting.wait()
        return gathered


def on_ranks(size: int, work: Callable[[ThreadRanks], T]) -> list[T | BaseException]:
    """Run `work` on so many ranks. Returns each one's result, or the error it ended with."""
    meeting, table = threading.Barrier(size, timeout=30), [None] * size
    results: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadRanks(rank, size, meeting, table))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


E8M0 = [torch.float8_e8m0fnu] if hasattr(torch, "float8_e8m0fnu") else []
"""A dtype that torch has from 2.7 on."""
