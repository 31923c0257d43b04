"""The times of an update of Noether's trainer, and the samples before it, by our hooks."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from trackside.run import Run


class Times(dict[str, float]):
    """Seconds of an update by phase, on the clock of the host.

    `data_wait`, `forward`, `backward` (with the update), and `update`, the sum of the last two.
    `data_time`, as their documents call it, is `data_wait`.
    """

    def __missing__(self, key: str) -> float:
        if key == "data_time":
            return self["data_wait"]
        raise KeyError(key)


class Measuring:
    """Measures the updates of a run for one callback."""

    def __init__(self) -> None:
        self.samples_before = 0
        """Samples of the updates that are complete."""
        self._waited = self._forward = self._backward = 0.0
        self._since = 0.0

    def start(self, run: Run) -> None:
        """Begin with what the run has done so far."""
        self._waited = run.data_wait_seconds
        self.samples_before = run.progress.samples_completed
        self._forward = self._backward = 0.0

    def count(self, run: Run, batch: Any) -> None:
        """A batch begins: the first one of an update finds the samples of those before it."""
        if run.progress.epoch_batches_completed % run.accumulate == 0:
            self.samples_before = run.progress.samples_completed

    def begin(self, run: Run, batch: Any) -> None:
        """A batch begins."""
        self._since = perf_counter()

    def turn(self, run: Run, loss: Any) -> None:
        """The loss of a batch is there, and its backward pass begins."""
        self._forward += self._lap()

    def turned(self, run: Run, loss: Any) -> None:
        """The backward pass of a batch is over."""
        self._backward += self._lap()

    def _lap(self) -> float:
        before, self._since = self._since, perf_counter()
        return self._since - before

    def end(self, run: Run) -> Times:
        """The update is done: what it took."""
        self._backward += self._lap()
        waited = run.data_wait_seconds - self._waited
        took = Times(
            data_wait=waited,
            forward=self._forward,
            backward=self._backward,
            update=self._forward + self._backward,
        )
        self._waited, self._forward, self._backward = run.data_wait_seconds, 0.0, 0.0
        return took
