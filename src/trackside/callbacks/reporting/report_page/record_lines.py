"""Records of a run's `history.jsonl`, read once: a later look reads only what was appended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import final

from trackside.errors import HistoryError, printable
from trackside.history import History, Record
from trackside.run_folder.inside import open_inside
from trackside.run_folder.names import HISTORY

_AXES = ("step", "epoch", "samples", "seconds")


@final
class RecordLines:
    """Reads the records of one run's folder, and later those that came since.

    A file that got shorter, or another one in its place (a run that went back writes it again), is
    read from its start.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = History()
        self.problems: list[str] = []
        self.bytes_read = 0
        """Of the file, over all looks."""
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._unread = 0
        self._torn = False
        self._error: str | None = None

    def read(self) -> History:
        """The records so far.

        Raises:
            FileNotFoundError: The run has left none.
        """
        self._error = None
        try:
            self._read_on()
        except FileNotFoundError:
            raise
        except OSError as error:
            self._error = f"{HISTORY} can't be read to its end ({printable(str(error))})"
        self.problems = [] if self._error is None else [self._error]
        unread = self._unread + self._torn
        if unread:
            self.problems.append(f"{unread} lines of {HISTORY} hold no record")
        return self.history

    def _read_on(self) -> None:
        with open_inside(self.folder, HISTORY) as file:
            state = os.fstat(file.fileno())
            identity = (state.st_dev, state.st_ino)
            if identity != self._file or state.st_size < self._offset:
                self.history = History()
                self._file, self._offset, self._unread = identity, 0, 0
            file.seek(self._offset)
            self._torn = False
            for line in file:
                record = _record(line)
                if record is None and not line.endswith(b"\n"):
                    self._torn = True  # or being written: it is read again next time
                    break
                self._offset += len(line)
                self.bytes_read += len(line)
                if record is None or not self._is_taken(record):
                    self._unread += 1

    def _is_taken(self, record: Record) -> bool:
        try:
            self.history.append(record)
        except (HistoryError, OverflowError):  # before the one above it, or no count at all
            return False
        return True


def _record(line: bytes) -> Record | None:
    try:
        row = json.loads(line)
        step, epoch, samples, seconds = (row.pop(axis) for axis in _AXES)
        tokens = row.pop("tokens", None)
        counted = None if tokens is None else int(tokens)
        values = {str(name): float(value) for name, value in row.items() if value is not None}
        return Record(values, int(step), int(epoch), int(samples), float(seconds), counted)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
