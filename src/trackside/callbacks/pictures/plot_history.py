"""`PlotHistory`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import final, get_args

from trackside.callbacks.pictures.gallery import PictureCallback
from trackside.callbacks.pictures.history_panels import (
    RECENT,
    Axis,
    draw_history,
    history_size,
    panels,
)
from trackside.errors import ConfigurationError, UsageError, did_you_mean
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.schedule import Schedule


@final
class PlotHistory(PictureCallback):
    """Keeps a picture of the curves of the run: losses, metrics, learning rates.

    Values of several data sets share a panel (`train/loss` and `val/loss`), and so do other values
    of one topic (`lr/0` and `lr/1`). The picture is replaced whole, as often as the thread that
    draws keeps up, holds everything since the run began, resumes included, and goes to every
    tracker that shows pictures as `history`. Values that aren't finite leave a gap.

    Needs `pip install 'trackside[pictures]'`.

    Args:
        every: When.
        values: Full names or patterns of what is shown; None takes the metrics of all data sets and
            the learning rates.
        axis: What runs to the right: `step`, `epoch`, `samples`, `tokens` where steps count them,
            or `seconds`.
        log_scale: Names or patterns of values with a logarithmic axis, such as `*/loss`.
        file: Name of the file, below the run's folder; ends in `.png`.

    Raises:
        ConfigurationError: No such axis, another ending, or matplotlib isn't installed.

    Example:
        >>> PlotHistory(values=["*/loss", "val/accuracy"], axis="epoch", log_scale=["*/loss"])
    """

    writes = ("file",)
    rank_zero_only = True

    def __init__(
        self,
        every: Schedule | str = "1 epoch",
        values: Sequence[str] | None = None,
        *,
        axis: Axis = "step",
        log_scale: Sequence[str] = (),
        file: str | Path = "history.png",
    ) -> None:
        super().__init__(every)
        if axis not in get_args(Axis):
            raise ConfigurationError(
                f"axis={axis!r} doesn't exist",
                remedy=did_you_mean(str(axis), get_args(Axis)),
                option="axis",
            )
        file = str(local_path(file, "file"))
        if not file.endswith(".png") or file.startswith("/") or ".." in file:
            raise ConfigurationError(
                f"file={file!r} isn't a name for a picture",
                expected="a name below the run's folder that ends in .png",
                option="file",
            )
        self.values = None if values is None else tuple(values)
        self.axis: Axis = axis
        self.log_scale = tuple(log_scale)
        self.file = file

    def on_due(self, run: Run) -> None:
        if self.axis == "tokens" and run.history and "tokens" not in run.history.axes():
            raise UsageError(
                "axis='tokens', and no step says how many it has",
                remedy="return `Output(loss, tokens=...)` from `training_step`, or another axis",
            )
        patterns = self.values or [f"{name}/*" for name in (RECENT, *run.data, "lr")]
        shown = panels(list(run.history), patterns, self.axis, list(run.data), self.log_scale)
        if shown:
            draw = partial(
                draw_history,
                shown=shown,
                axis=self.axis,
                title=f"{run.directory.name} after step {run.progress.steps_completed:,}",
            )
            size = history_size(len(shown))
            self.gallery.show(run, "history", draw, size, file=self.file)
