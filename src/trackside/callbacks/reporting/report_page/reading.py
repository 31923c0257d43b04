"""A run as its folder describes it: how it ended, its records, sessions, checkpoints, pictures.

A folder may be half written, damaged or of another user: files that can't be read are left out, and
listed among `problems`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trackside.checkpoint import candidates, open_checkpoint
from trackside.errors import TracksideError, printable
from trackside.history import History, Record
from trackside.outcome import Status
from trackside.run_folder.claim import holder
from trackside.run_folder.inside import open_inside, read_inside
from trackside.run_folder.names import (
    CHANGES,
    CHECKPOINTS,
    ENVIRONMENT,
    HISTORY,
    JOURNAL,
    OUTCOME,
    SETTINGS,
)
from trackside.run_folder.small_files import look_into
from trackside.tracking.flat import flat

UNFINISHED = "unfinished"
"""Status of a run that goes on, or was killed."""
_AXES = ("step", "epoch", "samples", "seconds")
_DIFF_LIMIT_BYTES = 2 * 2**20
_JOURNAL_LIMIT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Session:
    """One process, or one job, of a run; a resumed run has several."""

    begun: str
    first_step: int
    ended: str | None = None
    """None while it goes on, and where it was killed."""
    last_step: int | None = None
    status: str = UNFINISHED
    ranks: int = 1
    host: str = ""
    resumed_from: str | None = None
    """Name of the checkpoint; its path, where it lies elsewhere than in the run's folder."""


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning of a session."""

    at: str
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint in the run's folder."""

    name: str
    step: int
    size_bytes: int
    reason: str
    problem: str | None


@dataclass(slots=True)
class ReportedRun:
    """One run in a report."""

    name: str
    folder: Path
    status: str = UNFINISHED
    reason: str = ""
    asked_by: str | None = None
    step: int = 0
    epoch: int = 0
    samples: int = 0
    seconds: float = 0.0
    """Of training, over all sessions."""
    started: str | None = None
    ended: str | None = None
    history: History = field(default_factory=History)
    configuration: Mapping[str, str] = field(default_factory=dict)
    """Flat: `callbacks/checkpoint/every`."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    changes: str | None = None
    """Uncommitted changes as a diff, where they were asked for."""
    callback_seconds: Mapping[str, float] = field(default_factory=dict)
    data_wait_seconds: float | None = None
    skipped_steps: Sequence[Mapping[str, Any]] = ()
    """The newest ones."""
    skipped_in_all: int = 0
    rollbacks: Sequence[Mapping[str, Any]] = ()
    sessions: Sequence[Session] = ()
    warnings: Sequence[Warned] = ()
    checkpoints: Sequence[KeptCheckpoint] = ()
    problems: list[str] = field(default_factory=list)
    """Things in the folder that couldn't be read, and why."""

    holder: str | None = None
    """The process that has the folder now, in words; None where nobody has."""

    def take_decisions(self, content: Mapping[str, Any]) -> None:
        """Take what `decisions_of` wrote down."""
        self.skipped_steps = _objects(content.get("skipped_steps"))
        listed = len(self.skipped_steps)
        self.skipped_in_all = max(listed, _count(content.get("skipped_steps_in_all")))
        self.rollbacks = _objects(content.get("rollbacks"))

    @property
    def goodput(self) -> float | None:
        """Time of training that counts, as a share of the time since the run was begun first.

        None where the folder doesn't say when it began or ended.
        """
        first = _time(self.sessions[0].begun if self.sessions else self.started)
        last = _time(self.ended)
        if first is None or last is None or last <= first:
            return None
        return min(1.0, self.seconds / (last - first).total_seconds())


def read_run(
    folder: Path,
    *,
    name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    history: History | None = None,
    with_changes: bool = False,
) -> ReportedRun:
    """Read a run from its folder.

    Args:
        folder: The run's folder.
        name: Of the run in the report; None takes the folder's.
        configuration: Its settings, nested; None takes those of a run made in Python.
        history: Its records; None reads them from `history.jsonl`, or else from the newest
            checkpoint.
        with_changes: Whether to include what was not committed. It may hold secrets.
    """
    run = ReportedRun(name or folder.resolve().name, folder)
    outcome = _object(run, OUTCOME)
    run.environment = _object(run, ENVIRONMENT)
    run.started = _text(run.environment.get("started"))
    settings = _object(run, SETTINGS) if configuration is None else configuration
    run.configuration = {key: _shown(value) for key, value in flat(settings).items()}
    run.sessions, run.warnings = _read_journal(run)
    run.checkpoints = _checkpoints(run)
    run.history = _history(run) if history is None else history
    _take_outcome(run, outcome)
    process = holder(folder)
    run.holder = None if process is None else str(process)
    if with_changes:
        run.changes = _changes(folder)
    return run


def _take_outcome(run: ReportedRun, outcome: Mapping[str, Any]) -> None:
    last = run.history[-1] if len(run.history) else None
    if last is not None:
        run.step, run.epoch, run.samples = last.step, last.epoch, last.samples
        run.seconds = last.seconds
    status = outcome.get("status")
    if status in list(Status):
        run.status = str(status)
    elif outcome:
        run.problems.append(f"{OUTCOME} names no status")
    run.reason = _text(outcome.get("reason")) or ""
    run.asked_by = _text(outcome.get("asked_by"))
    run.ended = _text(outcome.get("ended"))
    run.step = _count(outcome.get("step"), run.step)
    run.epoch = _count(outcome.get("epoch"), run.epoch)
    run.samples = _count(outcome.get("samples"), run.samples)
    run.seconds = _number(outcome.get("seconds"), run.seconds)
    run.callback_seconds = _numbers(outcome.get("callback_seconds"))
    if "data_wait_seconds" in outcome:
        run.data_wait_seconds = _number(outcome["data_wait_seconds"], 0.0)
    run.take_decisions(outcome)


# --- records -------------------------------------------------------------------------------------


def _history(run: ReportedRun) -> History:
    history = History()
    unread = 0
    try:
        with open_inside(run.folder, HISTORY) as file:
            for line in file:
                record = _record(line)
                if record is None:
                    unread += 1
                else:
                    history.append(record)
    except FileNotFoundError:
        return _history_of_a_checkpoint(run)
    except (OSError, TracksideError) as error:
        run.problems.append(f"{HISTORY} can't be read to its end ({printable(str(error))})")
    if unread:
        run.problems.append(f"{unread} lines of {HISTORY} hold no record")
    return history


def _record(line: bytes) -> Record | None:
    try:
        row = json.loads(line)
        step, epoch, samples, seconds = (row.pop(axis) for axis in _AXES)
        tokens = row.pop("tokens", None)
        values = {str(name): float(value) for name, value in row.items() if value is not None}
        return Record(values, int(step), int(epoch), int(samples), float(seconds), tokens)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _history_of_a_checkpoint(run: ReportedRun) -> History:
    history = History()
    for one in candidates(run.folder / CHECKPOINTS):
        if one.left_behind:
            continue
        try:
            kept = open_checkpoint(one.path).records()
        except (OSError, TracksideError) as error:
            run.problems.append(f"records of {one.path.name}: {printable(str(error))}")
            continue
        if kept is not None:
            history.load_state_dict(kept)
            run.problems.append(
                f"there is no {HISTORY}: records are those of the checkpoint {one.path.name}"
            )
            break
    return history


# --- sessions and warnings -----------------------------------------------------------------------


def _read_journal(run: ReportedRun) -> tuple[list[Session], list[Warned]]:
    sessions: list[Session] = []
    warnings: list[Warned] = []
    for line in _journal_lines(run):
        event, at, step = line.get("event"), _text(line.get("at")) or "", _count(line.get("step"))
        if event == "session":
            ranks, host = _count(line.get("ranks"), 1), _text(line.get("host")) or ""
            resumed = _text(line.get("resumed_from"))
            sessions.append(Session(at, step, ranks=ranks, host=host, resumed_from=resumed))
        elif event == "end" and sessions:
            one = sessions[-1]
            status = _text(line.get("status")) or UNFINISHED
            sessions[-1] = Session(
                one.begun, one.first_step, at, step, status, one.ranks, one.host, one.resumed_from
            )
        elif event == "warning":
            warnings.append(Warned(at, step, _text(line.get("text")) or ""))
    return sessions, warnings


def _journal_lines(run: ReportedRun) -> Iterator[Mapping[str, Any]]:
    try:
        text = read_inside(run.folder, JOURNAL, limit_bytes=_JOURNAL_LIMIT_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        run.problems.append(f"{JOURNAL} can't be read ({error.strerror})")
        return
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            run.problems.append(f"a line of {JOURNAL} is not JSON")
            continue
        if isinstance(content, dict):
            yield content


# --- checkpoints and changes ---------------------------------------------------------------------


def _checkpoints(run: ReportedRun) -> list[KeptCheckpoint]:
    found = []
    for one in candidates(run.folder / CHECKPOINTS):
        manifest = one.manifest
        size = 0 if manifest is None else manifest.size_bytes
        reason = "" if manifest is None else manifest.reason
        reason = f"{reason} (left behind)" if one.left_behind else reason
        found.append(KeptCheckpoint(one.path.name, one.step, size, reason, one.problem))
    return sorted(found, key=lambda one: one.step)


def _changes(folder: Path) -> str | None:
    try:
        data = read_inside(folder, CHANGES, limit_bytes=_DIFF_LIMIT_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"({CHANGES} can't be shown: {error.strerror})"
    return data.decode(errors="replace")


# --- values of files, held to their type ---------------------------------------------------------


def _object(run: ReportedRun, name: str) -> dict[str, Any]:
    content, problem = look_into(run.folder / name)
    if problem:
        run.problems.append(problem)
    return content


def _text(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) else None


def _count(value: Any, default: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _number(value: Any, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    return float(value) if math.isfinite(value) else default


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {printable(str(name)): _number(one, 0.0) for name, one in value.items()}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    found: Iterable[Any] = value if isinstance(value, list) else ()
    return [one for one in found if isinstance(one, Mapping)]


def _shown(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, default=str))


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
