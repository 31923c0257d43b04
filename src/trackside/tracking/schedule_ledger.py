"""The schedule ledger: scheduled work that was due, begun and done, and at which step.

`schedule.jsonl` in the folder of a run has a line for each, only ever appended to: a kill loses
none. Afterwards it says which work must not be done again, and which is still to be done.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

from trackside.run import Run
from trackside.run_folder.inside import append_inside, read_inside, unlinked

SCHEDULE = "schedule.jsonl"
State = Literal["begins", "due", "begun", "done", "rewound"]
_LIMIT_BYTES = 2**30


@final
class ScheduleLedger:
    """The lines of one callback of one run. Safe to use from several threads.

    One that can't be written (a full disk) raises nothing while it notes: the error is kept for
    `raise_error`, and work that a kill interrupts may then come twice.

    Args:
        folder: The run's.
        run_id: Of the run; lines of others in the same folder are left alone.
        who: Name of the callback.
        reads: Whether former lines are read, to know what was done; otherwise it only writes.
    """

    def __init__(self, folder: Path, run_id: str, who: str, *, reads: bool = True) -> None:
        self.folder, self.run_id, self.who = folder, run_id, who
        self.begins_with: int | None = None
        """Records that there were when the callback first took part; None: it never did."""
        self._states: dict[tuple[str, int], State] = {}
        self._lock = threading.Lock()
        self._broken = False
        self._error: OSError | None = None
        unlinked(folder / SCHEDULE)  # planted there
        for line in self._lines() if reads else ():
            self._take(line)

    @classmethod
    def of(cls, run: Run, otherwise: str, *, reads: bool = True) -> ScheduleLedger:
        """That of the callback whose hook is being called; `otherwise` names it outside of one."""
        return cls(run.directory, run.id, run.current_callback or otherwise, reads=reads)

    def is_done(self, what: str, step: int) -> bool:
        """Whether a piece of work of that step was done, in this life of the run or before."""
        return self._states.get((what, step)) == "done"

    def open_work(self) -> list[tuple[str, int]]:
        """Work that was due or begun and isn't done."""
        return [place for place, state in self._states.items() if state != "done"]

    def begin(self, records: int) -> None:
        """The callback takes part from the run's record number `records` on, from 0."""
        self._write({"what": "records", "step": records, "state": "begins"})

    def note(self, state: Literal["due", "begun", "done"], what: str, step: int) -> None:
        """Write down how far a piece of work is. What is done stays so."""
        if not self.is_done(what, step) and self._states.get((what, step)) != state:
            self._write({"what": what, "step": step, "state": state})

    def rewind(self, step: int) -> None:
        """The run went back to `step`: what was done later belongs to steps that are gone."""
        self._write({"what": "", "step": step, "state": "rewound"})

    # --- the file ------------------------------------------------------------------------------

    def _take(self, line: dict[str, Any]) -> None:
        what, step, state = str(line["what"]), int(line["step"]), line["state"]
        if state == "begins":
            self.begins_with = step if self.begins_with is None else self.begins_with
        elif state == "rewound":
            self._states = {place: s for place, s in self._states.items() if place[1] <= step}
        else:
            self._states[what, step] = state

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            text = read_inside(self.folder, SCHEDULE, limit_bytes=_LIMIT_BYTES)
        except OSError:
            return
        for line in text.splitlines():
            try:
                content = json.loads(line)
                if content["run"] == self.run_id and content["who"] == self.who:
                    yield content
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a kill

    def _write(self, content: dict[str, Any]) -> None:
        with self._lock:
            self._take(content)
            if self._broken:
                return
            line = json.dumps({"run": self.run_id, "who": self.who, **content}) + "\n"
            try:
                with append_inside(self.folder, SCHEDULE) as stream:
                    os.write(stream.fileno(), line.encode())
            except OSError as error:
                self._broken, self._error = True, error

    def raise_error(self) -> None:
        """Raise the error that ended the writing, once. Call it in a hook of the callback."""
        error, self._error = self._error, None
        if error is not None:
            raise error


@contextmanager
def noted(run: Run, what: str) -> Iterator[None]:
    """Note that work of a schedule begins, and, without an error, that it is done; on rank 0."""
    if not run.world.is_global_zero:
        yield
        return
    ledger, step = ScheduleLedger.of(run, what, reads=False), run.progress.steps_completed
    ledger.note("begun", what, step)
    yield
    ledger.note("done", what, step)
    ledger.raise_error()
