"""Ranks without processes: threads of which one runs at a time, in an order that the test draws."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from trackside.distributed.agreement import Exchange

R = TypeVar("R")


class Deadlock(Exception):
    """Every rank waits for something that none of them will do."""


class Ranks:
    """Runs one program per rank; at each pause, `choices` say who goes on."""

    def __init__(self, size: int, choices: Iterator[int]) -> None:
        self.size = size
        self._choices = choices
        self._baton = threading.Condition()
        self._turn = 0
        self._alive = set(range(size))
        self._idle = 0
        self._errors: list[BaseException] = []
        self._local = threading.local()
        self.votes: dict[int, dict[int, list[int]]] = {}
        self.gathered: dict[int, dict[int, Any]] = {}
        self.waits = [0] * size
        """How often each rank had to wait for another one."""

    def run(self, program: Callable[[int], R]) -> list[R]:
        results: dict[int, R] = {}

        def body(rank: int) -> None:
            self._local.rank = rank
            with self._baton:
                self._baton.wait_for(lambda: self._turn == rank)
            try:
                results[rank] = program(rank)
            except BaseException as error:
                self._errors.append(error)
            with self._baton:
                self._alive.discard(rank)
                self._idle = 0
                self._pass_on()

        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        return [results[rank] for rank in range(self.size)]

    def pause(self) -> None:
        """Let whoever is drawn go on."""
        self._idle = 0
        self._yield()

    def wait_for(self, happened: Callable[[], bool]) -> None:
        if not happened():
            self.waits[self._local.rank] += 1
        while not happened():
            self._idle += 1
            # Drawn orders are unfair: only many idle turns in a row, with every rank asked, count.
            if self._idle > 50 * self.size or self._errors:
                raise Deadlock
            self._yield(fair=self._idle > self.size)
        self._idle = 0

    def _yield(self, fair: bool = False) -> None:
        rank = self._local.rank
        with self._baton:
            self._pass_on(after=rank if fair else None)
            self._baton.wait_for(lambda: self._turn == rank)

    def _pass_on(self, after: int | None = None) -> None:
        alive = sorted(self._alive)
        if alive:
            if after is None:
                self._turn = alive[next(self._choices, 0) % len(alive)]
            else:
                self._turn = next((r for r in alive if r > after), alive[0])
            self._baton.notify_all()


class SimulatedExchange(Exchange):
    """What one rank sends and receives; a message arrives when every rank has sent its own."""

    def __init__(self, ranks: Ranks, rank: int) -> None:
        self._ranks = ranks
        self._rank = rank
        self._sent = 0
        self._gathers = 0

    def send(self, vector: list[int]) -> Callable[[], list[int]]:
        votes = self._ranks.votes.setdefault(self._sent, {})
        self._sent += 1
        votes[self._rank] = vector
        self._ranks.pause()

        def arrived() -> list[int]:
            self._ranks.wait_for(lambda: len(votes) == self._ranks.size)
            return [max(column) for column in zip(*votes.values(), strict=True)]

        return arrived

    def gather(self, requests: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        parts = self._ranks.gathered.setdefault(self._gathers, {})
        self._gathers += 1
        parts[self._rank] = requests
        self._ranks.pause()
        self._ranks.wait_for(lambda: len(parts) == self._ranks.size)
        return [parts[rank] for rank in range(self._ranks.size)]
