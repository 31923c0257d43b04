"""Tracker: the base of callbacks that send to somewhere else what a run records."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trackside.checkpoint.manifest import parse_folder_name
from trackside.errors import ConfigurationError
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.run import Rollback, Run
from trackside.tracking.background import BackgroundQueue
from trackside.tracking.flat import flat
from trackside.tracking.media import Audio, File, Histogram, Picture, Table, Text, Video
from trackside.tracking.schedule_ledger import ScheduleLedger, is_record, name_of
from trackside.tracking.undelivered import WRITERS, Numbers, Waiting, state_of, waiting_in

logger = logging.getLogger("trackside")
Write = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run that begins, or goes on, as a tracker sees it. Safe to read in the thread."""

    name: str
    """Name of the run: that of its folder."""
    directory: Path
    """The run's folder. It may not exist yet."""
    config: Mapping[str, Any]
    """Settings and configuration, nested as they were written."""
    step: int
    """Steps completed; 0 at the first start."""
    id: str = ""
    """Id of the run here, the same over all its resumes: as a tag, it finds the run at the tracker
    where a checkpoint was saved before the tracker had answered."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The configuration as one flat mapping, with names such as `optimizer/lr`."""
        return flat(self.config)


class Tracker(RankZeroCallback[Run], ABC):
    """Sends metrics, the configuration and media somewhere, in a thread.

    A subclass says how: `open`, `write_metrics` and `close`, and what else it can show. These are
    called in one thread, one after another, and may take their time: the loop doesn't wait. What
    fails is tried again; the error that remains is counted and reported as a warning, unless
    `on_error` says otherwise. What the tracker refuses for good, such as the name of a metric,
    costs this metric only, and is reported once.

    After a kill and a resume comes what was not sent before the checkpoint, and no piece twice:
    `schedule.jsonl` in the run's folder notes each.

    Set `run_id` in `open` when the run has an id there: it is part of checkpoints, and a resumed
    run finds it set. Where a run was killed after its checkpoint, values were sent that come once
    more after the resume: `was_sent` says which. A subclass that overrides a hook calls `super()`
    there.
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"
    title: str = ""
    """Name of the tracker in messages; empty for that of the class."""
    metrics_at_once: int | None = None
    """Metrics that one call of `write_metrics` takes; None: all of a record."""
    parameters_at_once: int | None = None
    """Parameters that one call of `write_parameters` takes; None: all."""
    flush_seconds: float = 30.0
    """How long the end of a run waits for what isn't sent yet."""

    run_id: str | None = None
    """Id of the run at the tracker; None as long as there is none."""
    goes_on: bool = False
    """Whether the run is one that the tracker knows; `open` sets it where it finds that out."""
    drops_later: bool = False
    """Whether `open` drops what the tracker has of steps after the one that a run is resumed at."""
    _resumed_at = 0
    _ledger: ScheduleLedger | None = None
    _waiting: dict[object, Waiting] = {}
    _numbers = Numbers()
    _queue: BackgroundQueue | None = None
    _suspects: frozenset[tuple[str, str]] = frozenset()
    _untold: frozenset[str] = frozenset()
    """Kinds of media that it doesn't take, and of which that wasn't said yet."""

    # --- what a subclass says, called in the thread -----------------------------------------------

    @abstractmethod
    def open(self, beginning: TrackedRun) -> None:
        """Connect, and begin the run; or go on with it, when `run_id` is set."""

    @abstractmethod
    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        """Send metrics of one record.

        Args:
            values: By name, with `epoch` among them; they may be NaN or infinite.
            record: Where they belong: step, epoch, samples, seconds.
            unix_time: When they were recorded, in seconds.
        """

    @abstractmethod
    def close(self, outcome: Outcome) -> None:
        """End the run; the last call, and none if `open` failed."""

    def write_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Send settings, flat, once per run; not again after a resume."""

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        """Show a picture; one without this method gets none, and says so."""
        raise NotImplementedError

    def write_histogram(self, name: str, histogram: Histogram, step: int) -> None:
        """Show a histogram; one without this method gets none, and says so."""
        raise NotImplementedError

    def write_text(self, name: str, text: Text, step: int) -> None:
        """Show a text; one without this method gets none, and says so."""
        raise NotImplementedError

    def write_table(self, name: str, table: Table, step: int) -> None:
        """Show a table; one without this method gets none, and says so."""
        raise NotImplementedError

    def write_audio(self, name: str, audio: Audio, step: int) -> None:
        """Let people hear a sound; one without this method gets none, and says so."""
        raise NotImplementedError

    def write_video(self, name: str, video: Video, step: int) -> None:
        """Show a film; one without this method gets none, and says so."""
        raise NotImplementedError

    def write_file(self, name: str, file: File, step: int) -> None:
        """Keep a file or a folder; one without this method gets none, and says so."""
        raise NotImplementedError

    @classmethod
    def takes(cls, kind: str) -> bool:
        """Whether it shows media of a kind: `picture`, `text`, `sound`, ..."""
        writer = WRITERS[kind]
        return getattr(cls, writer) is not getattr(Tracker, writer)

    def rewind(self, step: int) -> None:
        """The run went back to `step`: what was sent after it no longer counts."""

    def was_sent(self, name: str, step: int) -> bool:
        """Whether a value was sent before the run was resumed.

        Asked in the thread, for a run that goes on, about steps from the checkpoint's on.
        """
        return False

    def settle(self) -> None:
        """Make sure that what was sent so far survives a kill; called after each piece."""

    def is_refusal(self, error: Exception) -> bool:
        """Whether `error` says that a value can't be taken, so that another attempt is useless."""
        return isinstance(error, (TypeError, ValueError, ConfigurationError))

    # --- hooks, called in the loop's thread -----------------------------------------------------

    def rehearse_in(self, folder: Path) -> bool:
        """Take no part in a rehearsal: nobody should hear of it."""
        return False

    def on_attach(self, run: Run) -> None:
        self.run_id = None  # unless a checkpoint brings one
        self._waiting, self._numbers = {}, Numbers()
        self._untold = frozenset(WRITERS)

    def on_fit_start(self, run: Run) -> None:
        beginning = TrackedRun(
            run.directory.name,
            run.directory,
            dict(run.config),
            run.progress.steps_completed,
            run.id,
        )
        self._suspects = frozenset()
        self.goes_on = self.run_id is not None  # asked before the thread may set it
        self._resumed_at = beginning.step
        self._ledger = ledger = ScheduleLedger.of(run, self._title)
        if self.drops_later and ledger.begins_with is not None:
            ledger.rewind(beginning.step)
        self._queue = BackgroundQueue(
            self._title, partial(self.open, beginning), flush_seconds=self.flush_seconds
        )
        if not self.goes_on:
            portions = _portions(beginning.parameters, self.parameters_at_once)
            self._put(partial(self._send_all, "parameter", portions, self._write_parameters))
        self._send_what_is_left(run, ledger)
        if run.taken_back and not self.drops_later:
            self._put(partial(self._go_back, beginning.step))

    def _send_what_is_left(self, run: Run, ledger: ScheduleLedger) -> None:
        """Send what a kill has kept the tracker from taking: records, and media of a checkpoint."""
        if ledger.begins_with is None:
            ledger.begin(len(run.history))
        numbers = Numbers()
        for record in run.history.since(ledger.begins_with or 0):
            what = numbers.name(name_of(record), record.step)
            if not ledger.is_done(what, record.step):
                self._send_record(record, what)
        waiting = {(one.what, one.step) for one in self._waiting.values()}
        for one in list(self._waiting.values()):
            self._show_at(one)
        lost = [
            f"{what} of step {step}"
            for what, step in ledger.open_work()
            if step <= self._resumed_at and (what, step) not in waiting and not is_record(what)
        ]
        if lost:
            logger.warning("%s was not given, before a kill: %s", self._title, ", ".join(lost))

    def on_log(self, run: Run, record: Record) -> None:
        self._send_record(record, self._numbers.name(name_of(record), record.step))

    def _send_record(self, record: Record, what: str) -> None:
        portions = _portions({**record.values, "epoch": float(record.epoch)}, self.metrics_at_once)
        unix_time = time.time()

        def write(values: Mapping[str, float]) -> None:
            if self.goes_on and self._resumed_at:
                values = {n: v for n, v in values.items() if not self.was_sent(n, record.step)}
            if values:
                self.write_metrics(values, record, unix_time)

        send = partial(self._send_all, "metric", portions, write)
        self._put(partial(self._once, what, record.step, send))

    def on_picture(self, run: Run, name: str, picture: Picture) -> None:
        """Show a picture under its step."""
        kept = Picture(picture.pixels.copy(), picture.path, picture.caption, picture.step)
        self._show("picture", name, picture.step_of(run.progress), kept)

    def on_histogram(self, run: Run, name: str, histogram: Histogram) -> None:
        """Show a histogram under the step of now."""
        self._show("histogram", name, run.progress.steps_completed, histogram)

    def on_text(self, run: Run, name: str, text: Text) -> None:
        """Show a text under the step of now."""
        self._show("text", name, run.progress.steps_completed, text)

    def on_table(self, run: Run, name: str, table: Table) -> None:
        """Show a table under the step of now."""
        self._show("table", name, run.progress.steps_completed, table)

    def on_audio(self, run: Run, name: str, audio: Audio) -> None:
        """Let people hear a sound under the step of now."""
        self._show("sound", name, run.progress.steps_completed, audio)

    def on_video(self, run: Run, name: str, video: Video) -> None:
        """Show a film under the step of now."""
        self._show("film", name, run.progress.steps_completed, video)

    def on_file(self, run: Run, name: str, file: File) -> None:
        """Keep a file as it is now."""
        self._show("file", name, run.progress.steps_completed, file)

    def _show(self, kind: str, name: str, step: int, medium: Any) -> None:
        if not self.takes(kind):
            self._say_untaken(kind, name)
            return
        what = self._numbers.name(f"{kind} {name}", step)
        if self._ledger is not None:
            self._ledger.note("due", what, step)
        self._show_at(Waiting(kind, name, step, what, medium))

    def _say_untaken(self, kind: str, name: str) -> None:
        if kind in self._untold:
            self._untold -= {kind}
            logger.warning("%s takes no %ss: %r is not sent there", self._title, kind, name)

    def _show_at(self, one: Waiting) -> None:
        """Have a medium sent; until then, checkpoints hold it."""
        self._waiting[one.key] = one
        show = getattr(self, WRITERS[one.kind])

        def write(media: Mapping[str, Any]) -> None:
            show(one.name, media[one.name], one.step)

        def send() -> None:
            work = partial(self._send, one.kind, {one.name: one.medium}, write)
            self._once(one.what, one.step, work)
            self._waiting.pop(one.key, None)

        self._put(send)

    def on_checkpoint_saved(self, run: Run, path: Path) -> None:
        place = parse_folder_name(path.name)
        if place is not None:
            self._put(partial(self._settle, place[0]))

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._put(partial(self._go_back, rollback.to_step))

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._queue is not None:
            queue, self._queue = self._queue, None
            queue.close(last=partial(self.close, outcome))
        if self._ledger is not None:
            ledger, self._ledger = self._ledger, None
            ledger.raise_error()

    def state_dict(self) -> dict[str, Any]:
        own = {} if self.run_id is None else {"run_id": self.run_id}
        return {**own, **self._numbers.state(), **state_of(list(self._waiting.values()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run_id = state.get("run_id")
        self._numbers = Numbers.of(state)
        self._waiting = {one.key: one for one in waiting_in(state)}

    def _put(self, work: Callable[[], object]) -> None:
        if self._queue is not None:
            self._queue.put(work)
        if self._ledger is not None:
            self._ledger.raise_error()

    @property
    def _title(self) -> str:
        return self.title or type(self).__name__

    def _write_parameters(self, parameters: Mapping[str, Any]) -> None:
        if not self.goes_on:  # it was found meanwhile, and has them
            self.write_parameters(parameters)

    def _go_back(self, step: int) -> None:
        self._resumed_at = 0  # from here on values are new, whatever was sent before
        if self._ledger is not None:
            self._ledger.rewind(step)
        self.rewind(step)

    # --- in the thread -------------------------------------------------------------------------

    def _settle(self, step: int) -> None:
        """Note that the records of a checkpoint were tried: each came before in the queue."""
        ledger, queue = self._ledger, self._queue
        if ledger is not None and queue is not None and not queue.dropped:  # else some never were
            ledger.settle(step)

    def _once(self, what: str, step: int, send: Callable[[], object]) -> None:
        """Send a piece, unless the ledger says that it was sent; note it there."""
        ledger = self._ledger
        if ledger is None or not ledger.is_done(what, step):
            if ledger is not None:
                ledger.note("begun", what, step)
            send()
            self.settle()
            if ledger is not None:
                ledger.note("done", what, step)

    def _send_all(self, kind: str, portions: deque[dict[str, Any]], write: Write) -> None:
        """Send what is left of `portions`: another attempt doesn't send twice what was taken."""
        while portions:
            first = portions[0]
            suspects = [name for name in first if (kind, name) in self._suspects]
            if len(first) > 1:  # they would only make another call for each of the others
                portions.extend([{name: first.pop(name)} for name in suspects])
            if first:
                self._send(kind, first, write)
            portions.popleft()

    def _send(self, kind: str, values: Mapping[str, Any], write: Write) -> None:
        """Send values together; when they are refused, each by itself."""
        try:
            write(values)
        except Exception as error:
            if not self.is_refusal(error):
                raise
            if len(values) > 1:
                for name, value in values.items():
                    self._send(kind, {name: value}, write)
            else:
                self._report(kind, next(iter(values)), error)

    def _report(self, kind: str, name: str, error: Exception) -> None:
        if (kind, name) not in self._suspects:
            self._suspects |= {(kind, name)}
            logger.warning("%s refuses the %s %r: %s", self._title, kind, name, error)


def _portions(values: Mapping[str, Any], at_once: int | None) -> deque[dict[str, Any]]:
    items, size = list(values.items()), at_once or max(len(values), 1)
    return deque(dict(items[begin : begin + size]) for begin in range(0, len(items), size))
