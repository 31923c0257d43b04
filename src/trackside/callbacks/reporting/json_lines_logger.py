"""`JSONLinesLogger`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from trackside.callbacks.reporting.record_rows import RecordRows
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.run import Rollback, Run


@final
class JSONLinesLogger(RankZeroCallback):
    """Writes each record as a line of JSON: step, epoch, samples, seconds, then the values.

    `pandas.read_json(path, lines=True)` reads it. JSON has no word for values that aren't finite:
    they are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`, which `float(...)`, JavaScript's
    `Number(...)` and pandas turn back. A resumed run goes on after the line at which the checkpoint
    was taken, and so does a run that goes back to one; lines that were written after it are gone.
    What could not be written, say because the disk was full, is written with the next line, or at
    the end. A new `fit` into the same folder sets the older file aside as `history.1.jsonl`.

    Args:
        file: Name of the file in the run's folder, or a path.

    Example:
        >>> JSONLinesLogger()
        JSONLinesLogger()
    """

    effect = "observes"
    writes = ("file",)
    on_error = "warn"

    def __init__(self, file: str | Path = "history.jsonl") -> None:
        self.file = local_path(file, "file")
        self._rows: RecordRows | None = None

    def on_fit_start(self, run: Run) -> None:
        self._rows = RecordRows(run.directory / self.file, lines)
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


def lines(records: Iterable[Record], _: Sequence[str] = ()) -> Iterable[str]:
    """Each record as one line of JSON."""
    return map(line, records)


def line(record: Record) -> str:
    """A record as one line of JSON."""
    row = record.row()
    try:
        return _encode(row) + "\n"
    except ValueError:  # some of its values aren't finite
        return _encode({name: number_or_word(value) for name, value in row.items()}) + "\n"


_encode = json.JSONEncoder(allow_nan=False).encode


def number_or_word(value: float) -> float | str:
    """A number as JSON can hold it: a word where it isn't finite."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
