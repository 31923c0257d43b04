"""`JSONLinesLogger`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TextIO, final

from trackside.callbacks.reporting import row_files
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.paths import local_path
from trackside.run import Rollback, Run


@final
class JSONLinesLogger(Callback):
    """Writes each record as a line of JSON: step, epoch, samples, seconds, then the values.

    `pandas.read_json(path, lines=True)` reads it. Values that aren't finite are written as `NaN`
    and `Infinity`, as Python and pandas do. A resumed run goes on after the line at which the
    checkpoint was taken, and so does a run that goes back to one; lines that were written after it
    are gone. A new `fit` into the same folder sets the older file aside as `history.1.jsonl`.

    Args:
        file: Name of the file in the run's folder, or a path.

    Example:
        >>> JSONLinesLogger()
        JSONLinesLogger('history.jsonl')
    """

    rank_zero_only = True
    on_error: Literal["raise", "warn"] = "warn"

    def __init__(self, file: str | Path = "history.jsonl") -> None:
        self.file = local_path(file, "file")
        self._open: TextIO | None = None

    def __repr__(self) -> str:
        return f"JSONLinesLogger({str(self.file)!r})"

    def on_fit_start(self, run: Run) -> None:
        if run.progress.steps_completed == 0:
            row_files.set_aside(run.directory / self.file)
        self._rewrite(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._rewrite(run)

    def _rewrite(self, run: Run) -> None:
        """The whole history: it is part of checkpoints, the file is not."""
        if self._open is not None:
            self._open.close()
        self._open = row_files.begin(run.directory / self.file, map(line, run.history))

    def on_log(self, run: Run, record: Record) -> None:
        if self._open is not None:
            self._open.write(line(record))

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._open is not None:
            file, self._open = self._open, None
            file.close()


def line(record: Record) -> str:
    """A record as one line of JSON."""
    return json.dumps(record.row()) + "\n"
