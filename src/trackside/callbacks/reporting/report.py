"""`Report`."""

from __future__ import annotations

from pathlib import Path
from typing import final

from trackside.callbacks.reporting.decisions import decisions_of
from trackside.callbacks.reporting.report_page.page import render
from trackside.callbacks.reporting.report_page.reading import ReportedRun, read_run
from trackside.callbacks.reporting.report_page.sessions import UNFINISHED
from trackside.errors import ConfigurationError, printable
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder.inside import replace_inside
from trackside.schedule import Schedule


@final
class Report(PeriodicCallback):
    """Keeps a report of the run as one HTML page: how it goes, curves, time, checkpoints, pictures.

    The page needs no service, asks nothing of a network, and opens from the disk. It is replaced
    whole, so often as `every` says and when the run is over, however it ended; a run that is
    refused before its first step leaves none. `trackside report` makes the same page of any run's
    folder, and one that compares several.

    Args:
        every: When it is made again while the run goes on; None: at the end only. The loop waits
            meanwhile, and longer the more values there are.
        file: Name of the file, below the run's folder; ends in `.html`.

    Raises:
        ConfigurationError: `file` ends in something else.

    Example:
        >>> Report(every="10 epochs")
        Report('10 epochs')
    """

    effect = "observes"
    runs_in = ("fit",)
    writes = ("file",)
    on_error = "warn"

    def __init__(self, every: Schedule | str | None = None, file: str = "report.html") -> None:
        super().__init__(every)
        self.file = local_path(file, "file")
        if self.file.suffix != ".html":
            raise ConfigurationError(
                f"file={str(file)!r} must end in .html", expected="a page", option="file"
            )
        self._began = False

    def on_attach(self, run: Run) -> None:
        self._began = False

    def on_fit_start(self, run: Run) -> None:
        self._began = True
        super().on_fit_start(run)

    def on_due(self, run: Run) -> None:
        """Make the page."""
        self._write(run, None)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Make it a last time, with how the run ended."""
        if self._began:
            self._write(run, outcome)

    def make_page(self, run: Run) -> Path:
        """Make the page now, of a run whose training is over, and say where it is.

        As long as the run is not closed, the page says so, and who asked for the end.
        """
        self._write(run, run.outcome, "training is over, and the run is being closed")
        return run.directory / self.file

    def _write(self, run: Run, outcome: Outcome | None, so_far: str = "it goes on") -> None:
        if run.world.is_global_zero and run.directory.is_dir():
            page = render([_so_far(run, outcome, so_far)])
            replace_inside(run.directory, str(self.file), page)


def _so_far(run: Run, outcome: Outcome | None, so_far: str) -> ReportedRun:
    """The run by its own state; sessions, checkpoints and pictures are read from its folder."""
    shown = read_run(run.directory, configuration=run.config, history=run.history)
    progress = run.progress
    shown.step, shown.epoch = progress.steps_completed, progress.epochs_completed
    shown.samples, shown.seconds = progress.samples_completed, progress.seconds
    shown.callback_seconds = run.callback_seconds
    shown.data_wait_seconds = run.data_wait_seconds
    shown.compilations, shown.compile_seconds = run.compilations, run.compile_seconds
    shown.take_decisions(decisions_of(run))
    if outcome is None:
        stop = run.stop_request
        shown.status, shown.reason = UNFINISHED, so_far
        if stop is not None:
            shown.reason, shown.asked_by = f"{so_far}: {printable(stop.reason)}", stop.who
    else:
        shown.status, shown.reason = outcome.status.value, printable(outcome.reason)
        shown.asked_by = outcome.asked_by
    return shown
