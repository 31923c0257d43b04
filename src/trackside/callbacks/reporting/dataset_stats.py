"""`DatasetStats`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from trackside.callbacks.reporting import terminal
from trackside.lifecycle.hooks import Callback
from trackside.progress import counted
from trackside.run import Run


@final
class DatasetStats(Callback):
    """Says at the start how much data there is; records `data/train/samples`, `data/train/batches`.

    What a loader doesn't know, an iterable without a length for example, is left out. Batches are
    those of this rank, samples those of the whole data set.

    Args:
        show: Whether a line is printed.

    Example:
        >>> DatasetStats()
        DatasetStats()
    """

    effect = "observes"
    on_error = "warn"
    logs = ("data/*",)

    def __init__(self, *, show: bool = True) -> None:
        self.show = show
        self._sizes: dict[str, float] = {}

    def on_fit_start(self, run: Run) -> None:
        known = sizes(run.data)
        recorded = set(run.history.names)  # a resumed run has them already
        self._sizes = {name: size for name, size in known.items() if name not in recorded}
        if self.show and run.world.is_global_zero:
            terminal.say(f"data: {sentence(run.data)}", hang=6)

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values.update(self._sizes)
        self._sizes = {}


def sizes(data: Mapping[str, Any]) -> dict[str, float]:
    """Samples and batches by full name, where they are known."""
    found: dict[str, float] = {}
    for name, source in data.items():
        for unit, amount in (("samples", source.samples), ("batches", source.batches)):
            if amount is not None:
                found[f"data/{name}/{unit}"] = float(amount)
    return found


def sentence(data: Mapping[str, Any]) -> str:
    """`train 1,400 samples in 44 batches, val 397 samples in 13 batches`."""
    parts = []
    for name, source in data.items():
        samples, batches = source.samples, source.batches
        words = [] if samples is None else [counted(samples, "sample")]
        words += [] if batches is None else [counted(batches, "batch")]
        parts.append(f"{name} {' in '.join(words) or 'of unknown length'}")
    return ", ".join(parts)
