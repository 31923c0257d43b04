"""Media that callbacks show: pictures, histograms, text, tables, sound, films, files.

Who makes one says `run.emit(Media.on_picture, name, picture)`; a tracker that can show it has a
method of that name.
"""

from __future__ import annotations

import csv
import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackside.errors import DataError
from trackside.imports.extras import optional_package
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

    def png(self) -> bytes:
        """A PNG file.

        Raises:
            ConfigurationError: Pillow isn't installed.
        """
        image = optional_package("PIL.Image", needed_by="a picture", extra="pictures")
        file = io.BytesIO()
        image.fromarray(self.pixels).save(file, "PNG")
        return file.getvalue()


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


@dataclass(frozen=True, slots=True)
class Text:
    """A text, for people."""

    text: str
    """Markdown, where the tracker shows it."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values under names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Numbers and text; as many in each row as there are columns."""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise DataError(
                    f"row {number} of a table doesn't fit its columns",
                    expected=f"{len(self.columns)} values",
                    received=f"{len(row)}",
                )

    def markdown(self) -> str:
        """The table as Markdown shows it."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)

    def csv(self) -> str:
        """The table as a file of comma-separated values."""
        file = io.StringIO(newline="")
        csv.writer(file).writerows([self.columns, *self.rows])
        return file.getvalue()


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound."""

    samples: NDArray[np.floating[Any]]
    """From -1 to 1, what lies outside is cut off; shape `(samples,)` or `(samples, channels)`."""
    rate: int
    """Samples per second."""
    caption: str = ""

    def wav(self) -> bytes:
        """A WAV file of 16 bits."""
        values = np.atleast_2d(np.asarray(self.samples).T).T
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(values.shape[1])
            writer.setsampwidth(2)
            writer.setframerate(self.rate)
            writer.writeframes((np.clip(values, -1, 1) * 32767).astype("<i2").tobytes())
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class Video:
    """A film without sound."""

    frames: NDArray[np.uint8]
    """Red, green, blue from 0 to 255, shape `(frames, height, width, 3)`."""
    frames_per_second: float = 8.0
    caption: str = ""

    def gif(self) -> bytes:
        """An animated GIF that begins again at its end.

        Raises:
            ConfigurationError: Pillow isn't installed.
        """
        image = optional_package("PIL.Image", needed_by="a video", extra="pictures")
        pictures = [image.fromarray(frame) for frame in self.frames]
        file = io.BytesIO()
        milliseconds = round(1000 / self.frames_per_second)
        pictures[0].save(
            file, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0
        )
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class File:
    """A file, or a folder, to keep beside the run."""

    path: Path
    """It must stay as it is until the run has ended: it is sent in the background."""
    kind: str = "file"
    """`code`, `model`, `data`, or any other word."""


class Media(Callback[R]):
    """Declares the events; a tracker needs only methods of these names, on rank 0."""

    @event
    def on_picture(self, run: Any, name: str, picture: Picture) -> None:
        """A picture named such as `val/predictions`, of the step `picture.step_of(progress)`."""

    @event
    def on_histogram(self, run: Any, name: str, histogram: Histogram) -> None:
        """A histogram named such as `parameters/layer.weight` belongs to the progress of now."""

    @event
    def on_text(self, run: Any, name: str, text: Text) -> None:
        """A text belongs to the progress of now."""

    @event
    def on_table(self, run: Any, name: str, table: Table) -> None:
        """A table belongs to the progress of now."""

    @event
    def on_audio(self, run: Any, name: str, audio: Audio) -> None:
        """Sound belongs to the progress of now."""

    @event
    def on_video(self, run: Any, name: str, video: Video) -> None:
        """A film belongs to the progress of now."""

    @event
    def on_file(self, run: Any, name: str, file: File) -> None:
        """A file is to be kept beside the run; one of the same name before it is replaced."""
