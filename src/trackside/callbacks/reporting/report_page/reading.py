"""A run as its folder describes it: how it ended, its records, sessions, checkpoints, pictures.

A folder may be half written, damaged or of another user: files that can't be read are left out, and
listed among `problems`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page.plain_values import (
    count_of,
    number_of,
    numbers_of,
    objects_of,
    shown,
    text_of,
    texts_of,
    time_of,
)
from trackside.callbacks.reporting.report_page.record_lines import RecordLines
from trackside.callbacks.reporting.report_page.sessions import (
    UNFINISHED,
    GoneCheckpoint,
    Session,
    Warned,
    read_journal,
)
from trackside.callbacks.reporting.report_page.thinning import ThinnedHistory
from trackside.checkpoint import candidates, open_checkpoint
from trackside.errors import TracksideError, printable
from trackside.history import History
from trackside.outcome import Status
from trackside.run_folder.claim import holder
from trackside.run_folder.inside import read_inside
from trackside.run_folder.names import (
    CHANGES,
    CHECKPOINTS,
    DEFAULTS,
    ENVIRONMENT,
    HISTORY,
    OUTCOME,
    SETTINGS,
)
from trackside.run_folder.small_files import look_into
from trackside.tracking.flat import flat

_DIFF_LIMIT_BYTES = 2 * 2**20


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
    places: Sequence[str] = ()
    """Lines of the user's code that the error which ended it passed, innermost first."""
    notes: Sequence[str] = ()
    """First lines of the notes on that error."""
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
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Defaults of options by the same names, as the run wrote them down; also of others."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    changes: str | None = None
    """Uncommitted changes as a diff, where they were asked for."""
    callback_seconds: Mapping[str, float] = field(default_factory=dict)
    data_wait_seconds: float | None = None
    compilations: int = 0
    """Parts of steps that its last session compiled."""
    compile_seconds: float = 0.0
    skipped_steps: Sequence[Mapping[str, Any]] = ()
    """The newest ones."""
    skipped_in_all: int = 0
    ended_epochs: Sequence[Mapping[str, Any]] = ()
    rollbacks: Sequence[Mapping[str, Any]] = ()
    halvings: Sequence[Mapping[str, Any]] = ()
    sessions: Sequence[Session] = ()
    warnings: Sequence[Warned] = ()
    checkpoints: Sequence[KeptCheckpoint] = ()
    gone: Sequence[GoneCheckpoint] = ()
    """Checkpoints that were deleted again."""
    problems: list[str] = field(default_factory=list)
    """Things in the folder that couldn't be read, and why."""

    holder: str | None = None
    """The process that has the folder now, in words; None where nobody has."""
    lines: RecordLines | None = None
    """The file that its records were read from."""
    curves: ThinnedHistory | None = None
    """Its curves, as they were thinned last."""

    def thinned(self) -> ThinnedHistory:
        """Its curves, thinned for a page."""
        if self.curves is None or self.curves.history is not self.history:
            self.curves = ThinnedHistory(self.history)
        return self.curves

    def take_decisions(self, content: Mapping[str, Any]) -> None:
        """Take what `decisions_of` wrote down."""
        self.skipped_steps = objects_of(content.get("skipped_steps"))
        listed = len(self.skipped_steps)
        self.skipped_in_all = max(listed, count_of(content.get("skipped_steps_in_all")))
        self.ended_epochs = objects_of(content.get("ended_epochs"))
        self.rollbacks = objects_of(content.get("rollbacks"))
        self.halvings = objects_of(content.get("halvings"))

    @property
    def goodput(self) -> float | None:
        """Time of training that counts, as a share of the time since the run was begun first.

        None where the folder doesn't say when it began, or when it was heard of last.
        """
        first = time_of(self.sessions[0].begun if self.sessions else self.started)
        heard = self.sessions[-1].last_heard if self.sessions else None
        last = time_of(self.ended) or time_of(heard)
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
    before: ReportedRun | None = None,
) -> ReportedRun:
    """Read a run from its folder.

    Args:
        folder: The run's folder.
        name: Of the run in the report; None takes the folder's.
        configuration: Its settings, nested; None takes those of a run made in Python.
        history: Its records; None reads them from `history.jsonl`, or else from the newest
            checkpoint.
        with_changes: Whether to include what was not committed. It may hold secrets.
        before: The same run as it was read before: of its records only later ones are read.
    """
    run = ReportedRun(name or folder.resolve().name, folder)
    if before is not None:
        run.lines, run.curves = before.lines, before.curves
    outcome = _object(run, OUTCOME)
    run.environment = _object(run, ENVIRONMENT)
    run.started = text_of(run.environment.get("started"))
    settings = _object(run, SETTINGS) if configuration is None else configuration
    run.configuration = {key: shown(value) for key, value in flat(settings).items()}
    run.defaults = {key: shown(value) for key, value in flat(_object(run, DEFAULTS)).items()}
    journal = read_journal(folder)
    run.sessions, run.warnings = journal.sessions, journal.warnings
    run.problems += journal.problems
    run.checkpoints = _checkpoints(run)
    there = {one.name for one in run.checkpoints}
    run.gone = [one for one in journal.gone if one.name not in there]
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
    run.reason = text_of(outcome.get("reason")) or ""
    run.asked_by = text_of(outcome.get("asked_by"))
    run.places = texts_of(outcome.get("places"))
    run.notes = texts_of(outcome.get("notes"))
    run.ended = text_of(outcome.get("ended"))
    run.step = count_of(outcome.get("step"), run.step)
    run.epoch = count_of(outcome.get("epoch"), run.epoch)
    run.samples = count_of(outcome.get("samples"), run.samples)
    run.seconds = number_of(outcome.get("seconds"), run.seconds)
    run.callback_seconds = numbers_of(outcome.get("callback_seconds"))
    run.compilations = count_of(outcome.get("compilations"))
    run.compile_seconds = number_of(outcome.get("compile_seconds"), 0.0)
    if "data_wait_seconds" in outcome:
        run.data_wait_seconds = number_of(outcome["data_wait_seconds"], 0.0)
    run.take_decisions(outcome)


# --- records -------------------------------------------------------------------------------------


def _history(run: ReportedRun) -> History:
    run.lines = lines = run.lines or RecordLines(run.folder)
    try:
        history = lines.read()
    except FileNotFoundError:
        return _history_of_a_checkpoint(run)
    run.problems += lines.problems
    return history


def _history_of_a_checkpoint(run: ReportedRun) -> History:
    history = History()
    for one in candidates(run.folder / CHECKPOINTS):
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


# --- checkpoints and changes ---------------------------------------------------------------------


def _checkpoints(run: ReportedRun) -> list[KeptCheckpoint]:
    found = []
    for one in candidates(run.folder / CHECKPOINTS):
        manifest = one.manifest
        size = 0 if manifest is None else manifest.size_bytes
        reason = "" if manifest is None else manifest.reason
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


def _object(run: ReportedRun, name: str) -> dict[str, Any]:
    content, problem = look_into(run.folder / name)
    if problem:
        run.problems.append(problem)
    return content
