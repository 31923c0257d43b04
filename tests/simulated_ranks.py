"""Ranks in one process: each is a thread, one runs at a time, and they meet at collectives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from trackside.distributed import World
from trackside.machine import randomness

R = TypeVar("R")


class Deadlock(Exception):
    """A rank waits for one that is done, or has failed."""


class SimulatedRank(World):
    """The world of several ranks, seen by one of them."""

    def __init__(self, rank: int, ranks: SimulatedRanks) -> None:
        super().__init__(rank)
        self.size = ranks.size
        self._ranks = ranks

    def gather(self, x: Any) -> list[Any]:
        return self._ranks.meet(self.rank, "gather", x)

    def broadcast(self, x: Any, source: int = 0) -> Any:
        return self._ranks.meet(self.rank, "broadcast", x)[source]

    def all_reduce(self, x: Any, op: Any = "mean") -> Any:
        parts = self._ranks.meet(self.rank, f"all_reduce {op}", x)
        stacked = torch.stack([torch.as_tensor(part) for part in parts])
        by: dict[str, Any] = {"sum": stacked.sum, "max": stacked.amax, "min": stacked.amin}
        found: Tensor = by[op](0)
        return found if isinstance(x, Tensor) else found.item()


class SimulatedRanks:
    """Runs a program once per rank; random numbers are those of each rank."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._baton = threading.Condition()
        self._turn = 0
        self._over: set[int] = set()
        self._said: list[dict[int, tuple[str, Any]]] = [{}]
        self._random = [randomness.capture() for _ in range(size)]
        self._errors: dict[int, BaseException] = {}

    def run(self, program: Callable[[World], R]) -> list[R]:
        """What the program returns on each rank; raises the error of the lowest rank."""
        results: dict[int, R] = {}

        def body(rank: int) -> None:
            self._wait(rank)
            try:
                results[rank] = program(SimulatedRank(rank, self))
            except BaseException as error:
                self._errors[rank] = error
            self._over.add(rank)
            self._pass_on(rank)

        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        real = {r: e for r, e in self._errors.items() if not isinstance(e, Deadlock)}
        if errors := real or self._errors:
            raise errors[min(errors)]
        return [results[rank] for rank in range(self.size)]

    def meet(self, rank: int, what: str, value: Any) -> list[Any]:
        """A collective: the values of all ranks, once each has come to it."""
        place = next(n for n, said in enumerate(self._said) if rank not in said)
        self._said[place][rank] = (what, value)
        if len(self._said) == place + 1:
            self._said.append({})
        while len(self._said[place]) < self.size:
            if self._over:
                raise Deadlock(f"rank {rank} waits in {what}, and {self._over} are done")
            self._pass_on(rank)
            self._wait(rank)
        names = {name for name, _ in self._said[place].values()}
        assert len(names) == 1, f"ranks meet in different collectives: {names}"
        return [self._said[place][each][1] for each in range(self.size)]

    def _wait(self, rank: int) -> None:
        with self._baton:
            self._baton.wait_for(lambda: self._turn == rank)
        randomness.restore(self._random[rank])

    def _pass_on(self, rank: int) -> None:
        self._random[rank] = randomness.capture()
        with self._baton:
            others = ((rank + step) % self.size for step in range(1, self.size + 1))
            self._turn = next((other for other in others if other not in self._over), rank)
            self._baton.notify_all()
