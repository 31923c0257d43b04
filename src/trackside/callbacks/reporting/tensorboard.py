"""`TensorBoard`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from trackside.extras import optional_package
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.paths import local_path
from trackside.run import Rollback, Run
from trackside.tracking.background import BackgroundQueue
from trackside.tracking.media import Histogram, Picture


@final
class TensorBoard(RankZeroCallback):
    """Writes records, pictures and histograms as TensorBoard event files.

    Look at them with `tensorboard --logdir runs`. The horizontal axis is steps; the time of each
    value is when it was recorded. The configuration is written as text. A resumed run goes on in
    the same folder, and TensorBoard drops what the interrupted run wrote after the checkpoint. A
    thread writes: training doesn't wait for the disk.

    Needs `pip install 'trackside[tensorboard]'`.

    Args:
        folder: Name of the folder in the run's folder, or a path.

    Raises:
        ConfigurationError: The package isn't installed.

    Example:
        >>> TensorBoard()
        TensorBoard()
    """

    writes = ("folder",)
    runs_in = ("fit",)
    on_error = "warn"

    def __init__(self, folder: str | Path = "tensorboard") -> None:
        module = optional_package(
            "torch.utils.tensorboard", needed_by="TensorBoard", extra="tensorboard"
        )
        self.folder = local_path(folder, "folder")
        self._make_writer = module.SummaryWriter
        self._writer: Any = None
        self._delivery: BackgroundQueue | None = None

    def on_fit_start(self, run: Run) -> None:
        step = run.progress.steps_completed
        folder, config = run.directory / self.folder, dict(run.config)

        def start() -> None:
            self._writer = self._open(folder, step)
            text = json.dumps(config, indent=2, default=str)
            self._writer.add_text("config", f"```json\n{text}\n```", step)

        self._delivery = BackgroundQueue("TensorBoard", start)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        folder = run.directory / self.folder

        def begin_anew() -> None:
            self._writer.close()
            self._writer = self._open(folder, rollback.to_step)

        if self._delivery is not None:
            self._delivery.put(begin_anew)

    def _open(self, folder: Path, step: int) -> Any:
        """A writer whose file tells TensorBoard to drop what lies after `step`."""
        return self._make_writer(str(folder), purge_step=step + 1 if step else None)

    def on_log(self, run: Run, record: Record) -> None:
        if self._delivery is not None:
            self._delivery.put(partial(self._write, record))

    def on_picture(self, run: Run, name: str, picture: Picture) -> None:
        """Show a picture under its step."""
        if self._delivery is not None:
            step = picture.step_of(run.progress)
            pixels = picture.pixels.copy()
            self._delivery.put(
                lambda: self._writer.add_image(name, pixels, step, dataformats="HWC")
            )

    def on_histogram(self, run: Run, name: str, histogram: Histogram) -> None:
        """Show a histogram under the step of now."""
        if self._delivery is not None:
            values = raw_histogram(histogram)
            step = run.progress.steps_completed
            self._delivery.put(
                lambda: self._writer.add_histogram_raw(name, global_step=step, **values)
            )

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._delivery is None:
            return
        delivery, self._delivery = self._delivery, None
        delivery.close(last=lambda: self._writer.close())  # noqa: PLW0108 - made in the thread
        self._writer = None

    def _write(self, record: Record) -> None:
        for name, value in {**record.values, "epoch": record.epoch}.items():
            self._writer.add_scalar(name, value, record.step)


def raw_histogram(histogram: Histogram) -> dict[str, Any]:
    """What TensorBoard stores of a histogram; sums are taken at the middle of each bin."""
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
