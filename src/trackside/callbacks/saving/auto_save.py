"""`AutoSave`."""

from __future__ import annotations

from typing import final

from trackside.errors import UsageError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.run import Run
from trackside.schedule import Every


@final
class AutoSave(PeriodicCallback):
    """Asks for a checkpoint every so many seconds of training, whatever else asks for one.

    What is lost to a power cut is then bounded in time. It is a request: `Checkpoint` writes it,
    at the end of the step under way, and keeps or drops it by its own rules.

    Args:
        seconds: Seconds of wall-clock time in `fit` between two requests, above 0; they go on
            counting over resumes.

    Raises:
        ScheduleError: `seconds` isn't a positive number.
        UsageError: When training starts: no callback saves checkpoints.

    Example:
        >>> AutoSave(seconds=300)
    """

    effect = "steers"
    settable = ("seconds",)

    def __init__(self, seconds: float = 600) -> None:
        super().__init__(Every(seconds=seconds))

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        if run.saver is None:
            raise UsageError(
                "`AutoSave` asks for checkpoints, and nothing saves any",
                remedy="add the callback `Checkpoint(every=None)`",
            )

    def on_due(self, run: Run) -> None:
        run.save(f"every {self.every}")
