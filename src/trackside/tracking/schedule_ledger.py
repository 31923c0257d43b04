"""The schedule ledger: scheduled work that was due, begun and done, and at which step.

`schedule.jsonl` in the folder of a run has a line for each, only ever appended to: a kill loses
none. Afterwards it says which work must not be done again, and which is still to be done.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, final
from zlib import crc32

from trackside.history import Record
from trackside.run import Run
from trackside.run_folder.inside import append_inside, open_inside, unlinked

SCHEDULE = "schedule.jsonl"
RECORD = "record"
"""First word of the names of records."""
State = Literal["begins", "due", "begun", "done", "rewound", "settled"]
Place = tuple[str, int]
"""Name and step of a piece of work."""
_LINE_BYTES = 4 * 2**20
_NEWEST_IN_THIS_LIFE = 1000
"""Done pieces of this life that are known one by one: none is asked about much later."""
_NEWEST_MEDIA_OF_BEFORE = 20_000
"""Done pieces of former lives, records left out: far more than come between two checkpoints."""


@final
class ScheduleLedger:
    """The lines of one callback of one run. Safe to use from several threads.

    Memory doesn't grow with the length of a run: of work that is done, only the newest is known
    piece by piece, and records that a checkpoint holds are `settle`d by one line.

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
        self._open: dict[Place, State] = {}
        self._done: dict[Place, None] = {}
        """Done in this life, the newest of them."""
        self._done_before: dict[Place, None] = {}
        self._settled = 0
        """Records of steps before this one are done, but for those in `_open`."""
        self._lock = threading.Lock()
        self._broken = False
        self._error: OSError | None = None
        unlinked(folder / SCHEDULE)  # planted there
        if reads:
            self._read()

    @classmethod
    def of(cls, run: Run, otherwise: str, *, reads: bool = True) -> ScheduleLedger:
        """That of the callback whose hook is being called; `otherwise` names it outside of one."""
        return cls(run.directory, run.id, run.current_callback or otherwise, reads=reads)

    def is_done(self, what: str, step: int) -> bool:
        """Whether a piece of work of that step was done, in this life of the run or before.

        Of this life, only about the newest pieces is the answer certain.
        """
        place = (what, step)
        if place in self._open:
            return False
        is_settled = is_record(what) and step < self._settled
        return is_settled or place in self._done or place in self._done_before

    def open_work(self) -> list[Place]:
        """Work that was due or begun and isn't done."""
        with self._lock:
            return list(self._open)

    def begin(self, records: int) -> None:
        """The callback takes part from the run's record number `records` on, from 0."""
        self._write({"what": "records", "step": records, "state": "begins"})

    def note(self, state: Literal["due", "begun", "done"], what: str, step: int) -> None:
        """Write down how far a piece of work is. What is done stays so."""
        place = (what, step)
        if self.is_done(what, step) or self._open.get(place) == state:
            return
        if state == "begun" and is_record(what):
            with self._lock:
                self._open[place] = state  # after a kill it is sent again, with or without a line
            return
        self._write({"what": what, "step": step, "state": state})

    def settle(self, step: int) -> None:
        """A checkpoint of `step` holds the records before it: those not begun were all done.

        To be called once all of them were tried; those that failed stay to be done.
        """
        with self._lock:
            left = [place for place in self._open if is_record(place[0]) and place[1] < step]
        self._write({"what": RECORD, "step": step, "state": "settled", "but": left})

    def rewind(self, step: int) -> None:
        """The run went back to `step`: what was done later belongs to steps that are gone."""
        self._write({"what": "", "step": step, "state": "rewound"})

    # --- the file ------------------------------------------------------------------------------

    def _read(self) -> None:
        for line in self._lines():
            try:
                if line["run"] == self.run_id and line["who"] == self.who:
                    self._take(line, self._done_before)
            except (ValueError, KeyError, TypeError):
                continue
        media = [place for place in self._done_before if not is_record(place[0])]
        for place in media[:-_NEWEST_MEDIA_OF_BEFORE]:
            del self._done_before[place]

    def _take(self, line: Mapping[str, Any], done: dict[Place, None]) -> None:
        what, step, state = str(line["what"]), int(line["step"]), line["state"]
        if state == "begins":
            self.begins_with = step if self.begins_with is None else self.begins_with
        elif state == "rewound":
            self._keep(lambda place: place[1] <= step)
            self._settled = min(self._settled, step + 1)
        elif state == "settled":
            self._keep(lambda place: place[1] >= step or not is_record(place[0]))
            self._open |= {(str(name), int(at)): "begun" for name, at in line["but"]}
            self._settled = max(self._settled, step)
        elif state == "done":
            self._open.pop((what, step), None)
            done[what, step] = None
        else:
            self._open[what, step] = state

    def _keep(self, stays: Callable[[Place], bool]) -> None:
        self._open = {place: state for place, state in self._open.items() if stays(place)}
        self._done = {place: None for place in self._done if stays(place)}
        self._done_before = {place: None for place in self._done_before if stays(place)}

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with open_inside(self.folder, SCHEDULE) as stream:
                for line in iter(partial(stream.readline, _LINE_BYTES), b""):
                    try:
                        content = json.loads(line)
                    except ValueError:
                        continue  # cut off by a kill
                    if isinstance(content, dict):
                        yield content
        except FileNotFoundError:
            return
        except OSError as error:
            self._error = error  # what was done isn't known: it comes again, and that is said

    def _write(self, content: dict[str, Any]) -> None:
        with self._lock:
            self._take(content, self._done)
            while len(self._done) > _NEWEST_IN_THIS_LIFE:
                del self._done[next(iter(self._done))]
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


def name_of(record: Record) -> str:
    """The record as the ledger names it: those of one step mostly have other values."""
    return f"{RECORD} {crc32(','.join(sorted(record.values)).encode()):08x}"


def is_record(what: str) -> bool:
    """Whether a piece of that name is a record."""
    return what.partition(" ")[0] == RECORD


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
