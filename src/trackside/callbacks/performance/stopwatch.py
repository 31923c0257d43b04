"""Stopwatches for phases of a step: the host's clock, or events on the device."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter
from typing import Any, final

import torch


@final
class Stopwatch:
    """Takes the time of named phases without making the device wait.

    On an accelerator marks are events in the order of its work; they are read when all is done.

    Args:
        device: Whose time is taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._running: dict[str, Any] = {}
        self._laps: list[dict[str, list[tuple[Any, Any]]]] = []

    def lap(self) -> None:
        """Begin a new step: later times belong to it."""
        self._laps.append(defaultdict(list))

    def start(self, phase: str) -> None:
        """The phase begins."""
        self._running[phase] = self._mark()

    def stop(self, phase: str) -> None:
        """The phase ends; several in a lap add up."""
        begun = self._running.pop(phase, None)
        if begun is not None and self._laps:
            self._laps[-1][phase].append((begun, self._mark()))

    def _mark(self) -> Any:
        if self._device.type == "cpu":
            return perf_counter()
        mark = torch.Event(self._device, enable_timing=True)
        mark.record()
        return mark

    def seconds(self) -> list[dict[str, float]]:
        """Seconds of each phase, by lap. Waits for the device."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return [
            {phase: sum(self._between(*pair) for pair in pairs) for phase, pairs in lap.items()}
            for lap in self._laps
        ]

    def _between(self, begun: Any, ended: Any) -> float:
        if self._device.type == "cpu":
            return float(ended - begun)
        return float(begun.elapsed_time(ended)) / 1000


def summary(laps: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, mean, and the tenths at both ends, in seconds, of each phase over its laps."""
    by_phase: defaultdict[str, list[float]] = defaultdict(list)
    for lap in laps:
        for phase, seconds in lap.items():
            by_phase[phase].append(seconds)
    return {phase: _spread(seconds) for phase, seconds in by_phase.items()}


def _spread(seconds: list[float]) -> dict[str, float]:
    tenths = statistics.quantiles(seconds, n=10) if len(seconds) > 1 else seconds
    return {
        "median": statistics.median(seconds),
        "mean": statistics.fmean(seconds),
        "p10": tenths[0],
        "p90": tenths[-1],
    }
