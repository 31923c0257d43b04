"""Sessions, warnings and checkpoints of a run, read from its journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page.plain_values import (
    count_of,
    numbers_of,
    text_of,
    texts_of,
)
from trackside.checkpoint.manifest import parse_folder_name
from trackside.run_folder.inside import read_inside
from trackside.run_folder.names import JOURNAL

UNFINISHED = "unfinished"
"""Status of a run that goes on, or was killed."""
_LIMIT_BYTES = 16 * 2**20


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
    last_heard: str = ""
    """Time of the last line that it wrote."""
    overrides: tuple[str, ...] = ()
    """Changes that it alone was given, on top of what the run's folder keeps."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase, as it wrote them last."""


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning of a session."""

    at: str
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class GoneCheckpoint:
    """A checkpoint that was written, and was deleted again by the rules of retention."""

    name: str
    step: int
    deleted_at: str


@dataclass(slots=True)
class JournalContent:
    """All that a journal says."""

    sessions: list[Session] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    gone: list[GoneCheckpoint] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_journal(folder: Path) -> JournalContent:
    """Read the journal in a run's folder; without one, there are no sessions."""
    found = JournalContent()
    for line in _lines(folder, found.problems):
        at, step = text_of(line.get("at")) or "", count_of(line.get("step"))
        event = line.get("event")
        if event == "session":
            found.sessions.append(_session(line, at, step))
        elif event == "warning":
            found.warnings.append(Warned(at, step, text_of(line.get("text")) or ""))
        elif event == "deleted":
            name = text_of(line.get("name")) or ""
            place = parse_folder_name(name)
            found.gone.append(GoneCheckpoint(name, step if place is None else place[0], at))
        if found.sessions:
            found.sessions[-1] = _heard(found.sessions[-1], line, at, step)
    return found


def _session(line: Mapping[str, Any], at: str, step: int) -> Session:
    ranks, host = count_of(line.get("ranks"), 1), text_of(line.get("host")) or ""
    resumed_from, overrides = text_of(line.get("resumed_from")), texts_of(line.get("overrides"))
    return Session(
        at, step, ranks=ranks, host=host, resumed_from=resumed_from, overrides=tuple(overrides)
    )


def _heard(session: Session, line: Mapping[str, Any], at: str, step: int) -> Session:
    """The session, with what one of its lines says."""
    phases = numbers_of(line.get("phases")) or session.phases
    session = replace(session, last_heard=at, phases=phases)
    if line.get("event") != "end":
        return session
    status = text_of(line.get("status")) or UNFINISHED
    return replace(session, ended=at, last_step=step, status=status)


def _lines(folder: Path, problems: list[str]) -> Iterator[Mapping[str, Any]]:
    try:
        text = read_inside(folder, JOURNAL, limit_bytes=_LIMIT_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{JOURNAL} can't be read ({error.strerror})")
        return
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            problems.append(f"a line of {JOURNAL} is not JSON")
            continue
        if isinstance(content, dict):
            yield content
