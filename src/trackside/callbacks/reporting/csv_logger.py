"""`CSVLogger`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from trackside.callbacks.reporting.record_rows import RecordRows
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.records import TOKENS, stored_values
from trackside.run import Rollback, Run

AXES = ("step", "epoch", "samples", "seconds")


@final
class CSVLogger(RankZeroCallback):
    """Writes each record as a row of a CSV file: step, epoch, samples, seconds, then the values.

    Where steps count tokens, they are a column too, before the values.
    A value that is logged for the first time adds a column: the file is written again with the
    longer header and replaced at once. Where that would cost more than the rows since the last
    time, the new column has to wait: rows lack its values until the file has grown, or the run
    ends. A resumed run goes on after the row at which the checkpoint was taken, and so does a run
    that goes back to one; rows that were written after it are gone. What could not be written, say
    because the disk was full, is written with the next row, or at the end. A new `fit` into the
    same folder sets the older file aside as `history.1.csv`.

    Args:
        file: Name of the file in the run's folder, or a path.

    Example:
        >>> CSVLogger("metrics.csv")
        CSVLogger('metrics.csv')
    """

    effect = "observes"
    writes = ("file",)
    runs_in = ("fit",)
    on_error = "warn"

    def __init__(self, file: str | Path = "history.csv") -> None:
        self.file = local_path(file, "file")
        self._rows: RecordRows | None = None

    def on_fit_start(self, run: Run) -> None:
        self._rows = RecordRows(run.directory / self.file, table, header)
        self._rows.begin(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        if self._rows is not None:
            self._rows.rewrite(run)

    def on_log(self, run: Run, record: Record) -> None:
        if self._rows is not None:  # the record is in the history already
            self._rows.follow(run)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._rows is not None:
            rows, self._rows = self._rows, None
            rows.close(run)


def header(columns: Sequence[str]) -> str:
    """The first line: axes, then the names of values."""
    return _line([*AXES, *("tokens" if name == TOKENS else name for name in columns)])


def table(records: Iterable[Record], columns: Sequence[str]) -> Iterable[str]:
    """Records as lines of CSV; a value that is missing leaves a gap."""
    for record in records:
        axes = [record.step, record.epoch, record.samples, f"{record.seconds:.6f}"]
        values = stored_values(record)
        yield _line([*axes, *(values.get(name, "") for name in columns)])


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
