"""Media that callbacks show: pictures and histograms, and the events that carry them.

Who makes one says `run.emit(Media.on_picture, name, picture)`; a tracker that can show it has a
method of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackside.lifecycle.hooks import Callback, R, event
from trackside.progress import Progress


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, as pixels and, where it was written, as a file."""

    pixels: NDArray[np.uint8]
    """Red, green, blue from 0 to 255, shape `(height, width, 3)`."""
    path: Path | None = None
    """The PNG file in the run's folder."""
    caption: str = ""
    step: int | None = None
    """Steps completed when what it shows was so; None: now. One that is drawn in the background
    comes later."""

    def step_of(self, progress: Progress) -> int:
        """The step to show it under."""
        return progress.steps_completed if self.step is None else self.step


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins."""

    counts: NDArray[np.int64]
    """Values per bin, shape `(bins,)`."""
    edges: NDArray[np.float64]
    """Borders of the bins, ascending, shape `(bins + 1,)`; each bin holds its lower border, the
    last one its upper border as well."""
    not_finite: int = 0
    """Values that are NaN or infinite, in no bin."""


class Media(Callback[R]):
    """Declares the events; a tracker needs only methods of these names, on rank 0."""

    @event
    def on_picture(self, run: Any, name: str, picture: Picture) -> None:
        """A picture named such as `val/predictions`, of the step `picture.step_of(progress)`."""

    @event
    def on_histogram(self, run: Any, name: str, histogram: Histogram) -> None:
        """A histogram named such as `parameters/layer.weight` belongs to the progress of now."""
