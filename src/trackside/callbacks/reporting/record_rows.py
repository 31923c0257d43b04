"""A file that follows the history of a run, row by row, and makes up for what it has missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import final

from trackside.callbacks.reporting import row_files
from trackside.callbacks.reporting.row_files import RowFile
from trackside.history import Record
from trackside.records import TOKENS, stored_values
from trackside.run import Run

FREE_BYTES = 2**20
"""So much is written again for new columns whatever was added meanwhile."""

Rows = Callable[[Iterable[Record], Sequence[str]], Iterable[str]]
"""From records and the columns of the file, `TOKENS` among them, to its rows."""


@final
class RecordRows:
    """Writes the records of a run into a file that can be made again from the history.

    The history is part of checkpoints and the file is not: where a run goes on, or goes back, the
    file is written again as far as the records reach. A write that failed is made up for by the
    next, and at the end.

    Args:
        path: The file.
        rows: Turns records into rows.
        header: Turns the columns into the first row. A value that is new is then a new column, for
            which the file is written again: at once while that costs no more than the rows since
            the last time, else later, and at the end. None: rows need no columns.
    """

    def __init__(
        self, path: Path, rows: Rows, header: Callable[[Sequence[str]], str] | None = None
    ) -> None:
        self._path = path
        self._rows = rows
        self._header = header
        self._columns: list[str] = []
        self._known: set[str] = set()
        self._file: RowFile | None = None
        self._written = 0
        self._added_bytes = 0
        self._rewritten_bytes = 0
        self._is_behind = False
        """Whether rows are there that lack columns."""
        self._replaces_older = False

    def begin(self, run: Run) -> None:
        """Begin the file; what an earlier run, or a lost history, left there is set aside."""
        if run.progress.steps_completed == 0 or not len(run.history):
            row_files.set_aside(self._path)
        self._replaces_older = True
        self.rewrite(run)

    def rewrite(self, run: Run) -> None:
        """The whole history, with all its columns."""
        if not self._replaces_older:  # what was there could not be set aside yet
            self.begin(run)
            return
        self._give_up()
        counted = [TOKENS] if "tokens" in run.history.axes() else []
        self._columns = [*counted, *run.history.names]
        self._known = set(self._columns)
        begin = [] if self._header is None else [self._header(self._columns)]
        rows = self._rows(run.history, self._columns)
        self._file = RowFile(self._path, (row for part in (begin, rows) for row in part))
        self._written = len(run.history)
        self._rewritten_bytes += self._file.size_bytes
        self._is_behind = False

    def follow(self, run: Run) -> None:
        """Write the records that the file does not have yet."""
        count = len(run.history)
        if self._file is None or count < self._written:
            self.rewrite(run)
            return
        records = list(run.history.since(self._written))
        if self._header is not None and not self._fits(records):
            if self._may_rewrite():
                self.rewrite(run)
                return
            self._is_behind = True
        before = self._file.size_bytes
        self._file.write(self._rows(records, self._columns))
        self._added_bytes += self._file.size_bytes - before
        self._written = count

    def close(self, run: Run) -> None:
        """Write what is missing, and close the file."""
        try:
            if self._is_behind:
                self.rewrite(run)
            elif self._file is None or self._written != len(run.history):
                self.follow(run)
        finally:
            self._give_up()

    def _fits(self, records: Iterable[Record]) -> bool:
        return all(stored_values(record).keys() <= self._known for record in records)

    def _may_rewrite(self) -> bool:
        """Whether all the rewriting stays in proportion to what was added row by row."""
        size = 0 if self._file is None else self._file.size_bytes
        return self._rewritten_bytes + size <= 2 * self._added_bytes + FREE_BYTES

    def _give_up(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
