"""`CSVLogger`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TextIO, final

from trackside.callbacks.reporting import row_files
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.paths import local_path
from trackside.run import Rollback, Run

AXES = ("step", "epoch", "samples", "seconds")


@final
class CSVLogger(Callback):
    """Writes each record as a row of a CSV file: step, epoch, samples, seconds, then the values.

    A value that is logged for the first time adds a column: the file is written anew with the
    longer header and replaced at once. A resumed run goes on after the row at which the checkpoint
    was taken, and so does a run that goes back to one; rows that were written after it are gone. A
    new `fit` into the same folder sets the older file aside as `history.1.csv`.

    Args:
        file: Name of the file in the run's folder, or a path.

    Example:
        >>> CSVLogger("metrics.csv")
        CSVLogger('metrics.csv')
    """

    rank_zero_only = True
    on_error: Literal["raise", "warn"] = "warn"

    def __init__(self, file: str | Path = "history.csv") -> None:
        self.file = local_path(file, "file")
        self._columns: list[str] = []
        self._open: TextIO | None = None

    def __repr__(self) -> str:
        return f"CSVLogger({str(self.file)!r})"

    def on_fit_start(self, run: Run) -> None:
        if run.progress.steps_completed == 0:
            row_files.set_aside(run.directory / self.file)
        self._columns = []
        self._rewrite(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._rewrite(run)

    def on_log(self, run: Run, record: Record) -> None:
        if run.mode != "fit":
            return
        if self._open is None or not record.values.keys() <= set(self._columns):
            self._rewrite(run)  # the record is in the history already
        else:
            self._open.writelines(table([record], self._columns))

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._open is not None:
            file, self._open = self._open, None
            file.close()

    def _rewrite(self, run: Run) -> None:
        """The whole history, with all its columns: it is part of checkpoints, the file is not."""
        if self._open is not None:
            self._open.close()
            self._open = None
        self._columns = list(run.history.names)
        lines = table(run.history, self._columns, header=True)
        self._open = row_files.begin(run.directory / self.file, lines)


def table(records: Iterable[Record], columns: Iterable[str], *, header: bool = False) -> list[str]:
    """Records as lines of CSV, after the header if wanted; a value that is missing leaves a gap."""
    columns = list(columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow([*AXES, *columns])
    for record in records:
        axes = [record.step, record.epoch, record.samples, f"{record.seconds:.6f}"]
        writer.writerow([*axes, *(record.values.get(name, "") for name in columns)])
    return text.getvalue().splitlines(keepends=True)
