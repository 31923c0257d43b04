"""What a long history costs a save: how long it keeps the loop, beside a save with ten records.

Each round of a long history adds ten records and saves; so does its counterpart. The first save of
a history, which writes all of it in the background, is not among them. What is measured is the time
that the loop's thread computes, which other processes on the machine don't lengthen.

    python -m benchmarks.history           # a table: each ratio beside its budget
    python -m benchmarks.history --keep    # and in benchmarks/results/
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import torch

from benchmarks.report import Figure, at_most, main, median
from trackside.checkpoint import CheckpointWriter, Retention, Saving
from trackside.history import History, Record

ROUNDS = 9
TURNS = 15
Values = Callable[[int], dict[str, float]]


def twenty_names(step: int) -> dict[str, float]:
    return {f"train/value_{place}": step / (place + 1) for place in range(20)}


def names_in_turn(step: int) -> dict[str, float]:
    """Twenty of 2000 names, other ones in each record."""
    return {f"layer/{(step * 20 + place) % 2000}": float(step) for place in range(20)}


def all_names(step: int) -> dict[str, float]:
    return {f"layer/{place}": float(step) for place in range(2000)}


class Saved:
    """A history with a writer of its own."""

    def __init__(self, folder: Path, records: int, values: Values) -> None:
        self.history = History()
        self.values = values
        self.writer = CheckpointWriter(folder, "run", retention=Retention(keep_last=2))
        self.state: dict[str, Any] = {"model": {"weight": torch.zeros(1000, 100)}}
        self.grow(records)
        self.save()

    def grow(self, count: int) -> None:
        for step in range(len(self.history), len(self.history) + count):
            self.history.append(Record(self.values(step), step, 0, 8 * step, 0.001 * step))

    def save(self) -> float:
        """Seconds that a save takes of the loop's thread."""
        started = thread_time()
        state = {**self.state, "history": self.history.snapshot()}
        self.writer.save(state, Saving(step=len(self.history)))
        blocked = thread_time() - started
        self.writer.close()
        self.writer.poll()
        return blocked


def blocked(name: str, records: int, values: Values) -> Figure:
    """The ratio of a save with `records` to one with ten, the two taking turns."""
    with tempfile.TemporaryDirectory() as folder:
        few = Saved(Path(folder, "few"), 10, values)
        many = Saved(Path(folder, "many"), records, values)
        ratios = []
        for _ in range(at_most(ROUNDS)):
            # Medians: in some turns another process has taken the caches away.
            turns = [_turn(few, many) for _ in range(TURNS)]
            short, long = (statistics.median(times) for times in zip(*turns, strict=True))
            ratios.append(long / short)
        few.writer.end()
        many.writer.end()
    return median(name, ratios, budget=1.5)


def _turn(few: Saved, many: Saved) -> tuple[float, float]:
    few.grow(10)
    many.grow(10)
    return few.save(), many.save()


def figures() -> list[Figure]:
    return [
        blocked("a save keeps the loop: 10^6 records of 20 names", 1_000_000, twenty_names),
        blocked("the same: 2000 names in each of 1000 records", 1000, all_names),
        blocked("the same: 2000 names in 1000 records, 20 in each", 1000, names_in_turn),
    ]


if __name__ == "__main__":
    main("history", figures)
