"""`TensorBoard`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.machine.paths import local_path
from trackside.outcome import Outcome, Status
from trackside.tracking.media import Audio, Histogram, Picture, Table, Text, Video
from trackside.tracking.tracker import TrackedRun, Tracker


@final
class TensorBoard(Tracker):
    """Writes records and media as TensorBoard event files.

    Look at them with `tensorboard --logdir runs`. The horizontal axis is steps; the time of each
    value is when it was recorded. The configuration is written as text, and with the metrics for
    the page of hyper-parameters when the run ends. A resumed run goes on in the same folder, and
    TensorBoard drops what the interrupted run wrote after the checkpoint. A thread writes: training
    doesn't wait for the disk.

    Needs `pip install 'trackside[tensorboard]'`.

    Args:
        folder: Name of the folder in the run's folder, or a path.

    Raises:
        ConfigurationError: The package isn't installed.

    Example:
        >>> TensorBoard()
        TensorBoard()
    """

    title = "TensorBoard"
    metrics_at_once = 1
    drops_later = True
    writes = ("folder",)

    def __init__(self, folder: str | Path = "tensorboard") -> None:
        module = optional_package(
            "torch.utils.tensorboard", needed_by="TensorBoard", extra="tensorboard"
        )
        self.folder = local_path(folder, "folder")
        self._make_writer = module.SummaryWriter
        self._folder = Path()
        self._writer: Any = None
        self._parameters: dict[str, Any] = {}
        self._metrics: set[str] = set()

    def rehearse_in(self, folder: Path) -> bool:
        """Take part: what it writes is in the run's folder."""
        return True

    def open(self, run: TrackedRun) -> None:
        """Begin a file of events, with the configuration as text."""
        self._folder = run.directory / self.folder
        self._parameters, self._metrics = run.parameters, set()
        self._begin_after(run.step)
        text = json.dumps(run.config, indent=2, default=str)
        self._writer.add_text("config", f"```json\n{text}\n```", run.step)

    def rewind(self, step: int) -> None:
        """Begin another file, which tells TensorBoard to drop what lies after `step`."""
        self._writer.close()
        self._begin_after(step)

    def _begin_after(self, step: int) -> None:
        self._writer = self._make_writer(str(self._folder), purge_step=step + 1 if step else None)

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """Write values under their step."""
        self._metrics.update(values)
        for name, value in values.items():
            self._writer.add_scalar(name, value, record.step, walltime=unix_time)

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        """Show a picture under its step."""
        self._writer.add_image(name, picture.pixels, step, dataformats="HWC")

    def write_histogram(self, name: str, histogram: Histogram, step: int) -> None:
        """Show a histogram under its step."""
        self._writer.add_histogram_raw(name, global_step=step, **raw_histogram(histogram))

    def write_text(self, name: str, text: Text, step: int) -> None:
        """Show a text under its step."""
        self._writer.add_text(name, text.text, step)

    def write_table(self, name: str, table: Table, step: int) -> None:
        """Show a table under its step, among the texts."""
        self._writer.add_text(name, table.markdown(), step)

    def write_audio(self, name: str, audio: Audio, step: int) -> None:
        """Let people hear a sound under its step."""
        samples = np.atleast_2d(np.asarray(audio.samples).T)
        self._writer.add_audio(name, torch.from_numpy(samples), step, sample_rate=audio.rate)

    def write_video(self, name: str, video: Video, step: int) -> None:
        """Show a film under its step."""
        proto = optional_package(
            "tensorboard.compat.proto.summary_pb2", needed_by="TensorBoard", extra="tensorboard"
        )
        height, width = video.frames.shape[1:3]
        image = proto.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=video.gif()
        )
        summary = proto.Summary(value=[proto.Summary.Value(tag=name, image=image)])
        self._writer.file_writer.add_summary(summary, step)

    def settle(self) -> None:
        """Write it to the file: TensorBoard's writer keeps it for two minutes."""
        self._writer.flush()

    def close(self, outcome: Outcome) -> None:
        """Write the hyper-parameters and what is left, and close the file."""
        if self._parameters:
            self._write_hyper_parameters(outcome)
        self._writer.close()
        self._writer = None

    def _write_hyper_parameters(self, outcome: Outcome) -> None:
        """Name the settings and the metrics, whose last values that page looks up by itself."""
        module = optional_package(
            "torch.utils.tensorboard.summary", needed_by="TensorBoard", extra="tensorboard"
        )
        names = dict.fromkeys(sorted(self._metrics - {"epoch"}), 0.0)
        experiment, start, end = module.hparams(plain_parameters(self._parameters), names)
        succeeded = outcome.status not in (Status.FAILED, Status.DIVERGED)
        for summary in (experiment, start, end) if succeeded else (experiment, start):
            self._writer.file_writer.add_summary(summary)


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Settings as TensorBoard's page of hyper-parameters takes them, without those of None."""
    return {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in parameters.items()
        if value is not None
    }


def raw_histogram(histogram: Histogram) -> dict[str, Any]:
    """A histogram in the form of TensorBoard; sums are taken at the middle of each bin."""
    counts, edges = histogram.counts.astype(np.float64), histogram.edges
    middles = (edges[:-1] + edges[1:]) / 2
    return {
        "min": float(edges[0]),
        "max": float(edges[-1]),
        "num": int(histogram.counts.sum()),
        "sum": float((counts * middles).sum()),
        "sum_squares": float((counts * middles**2).sum()),
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }
