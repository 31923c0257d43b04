"""The journal of a run: its sessions and warnings as lines of JSON, as they come.

A run that is resumed, or killed, has several sessions; each begins a line, and ends one when it is
not killed. Only ever appended to: a kill loses no line that was written.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, final

from trackside.errors import printable
from trackside.run_folder.inside import append_inside, unlinked
from trackside.run_folder.names import JOURNAL

WARNINGS_AT_MOST = 200
"""Different warnings that one session writes down; those after it are counted."""


def now() -> str:
    """The time, coordinated universal, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@final
class Journal:
    """The open journal of one session.

    Args:
        folder: The run's folder. A link that was planted there under the journal's name is removed.

    Raises:
        OSError: Another thing than a file has its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        unlinked(folder / JOURNAL)
        self._file: TextIO = append_inside(folder, JOURNAL)
        self._warnings = _Warnings(self)
        self.step = 0
        """Steps completed, by the newest record."""

    def begin(
        self,
        run_id: str,
        step: int,
        ranks: int,
        resumed_from: Path | None,
        overrides: Sequence[str] = (),
    ) -> None:
        """Write that a session begins, and from now on all warnings of the package's logger."""
        self.step = step
        self.write(
            "session",
            run_id=run_id,
            resumed_from=None if resumed_from is None else self._told(resumed_from),
            ranks=ranks,
            host=platform.node(),
            process=os.getpid(),
            overrides=list(overrides),
        )
        logging.getLogger("trackside").addHandler(self._warnings)

    def _told(self, checkpoint: Path) -> str:
        """Its name; the whole path of one that doesn't lie in the run's folder, which may move."""
        place = checkpoint.resolve()
        inside = place.is_relative_to(self._folder.resolve())
        return checkpoint.name if inside else str(place)

    def end(self, values: Mapping[str, Any]) -> None:
        """Write how the session ended, and close the journal. A second time does nothing."""
        logging.getLogger("trackside").removeHandler(self._warnings)
        if self._file.closed:
            return
        try:
            if self._warnings.untold:
                self.write("warnings", untold=self._warnings.untold)
            self.write("end", **values)
        finally:
            self._file.close()

    def write(self, event: str, **values: Any) -> None:
        """Append one line. `OSError` when it can't be written."""
        line = {"event": event, "at": now(), "step": self.step, **values}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class _Warnings(logging.Handler):
    """Hands each different warning to a journal, once, and to the terminal as if it were not there.

    Python prints a warning to stderr where no handler takes it: this one must not count as such.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal
        self._known: set[str] = set()
        self.untold = 0

    def emit(self, record: logging.LogRecord) -> None:
        if logging.lastResort is not None and not _is_taken(record):
            logging.lastResort.handle(record)
        try:
            text = printable(record.getMessage())
            if text in self._known:
                return
            if len(self._known) >= WARNINGS_AT_MOST:
                self.untold += 1
                return
            self._known.add(text)
            self._journal.write("warning", level=record.levelname.lower(), text=text)
        except Exception:
            self.handleError(record)  # as `logging` does: it prints, and the run goes on


def _is_taken(record: logging.LogRecord) -> bool:
    """Whether a handler other than a journal's takes the record."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(not isinstance(handler, _Warnings) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
