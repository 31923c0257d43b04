"""Texts that a language model wrote, for the report: the newest ones of each callback."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page.plain_values import count_of, objects_of, text_of
from trackside.errors import printable
from trackside.run_folder.identity import known_id
from trackside.run_folder.inside import read_inside
from trackside.run_folder.names import TEXTS

LIMIT_BYTES = 2**20
"""Bytes of a file that a report reads."""
_FILE = re.compile(r"step-([0-9]{1,18})\.json")


@dataclass(frozen=True, slots=True)
class Written:
    """The texts that a callback wrote after one step."""

    folder: str
    """Below the run's folder: `texts/generate`."""
    step: int
    texts: list[tuple[str, str]]
    """Each prompt, and the text of it."""
    others: int
    """Further files in that folder."""


def texts_of(folder: Path, step: int) -> list[Written]:
    """The newest texts of each callback, by its name: those of this run, up to that step.

    A folder may hold later ones: of an earlier run, or of steps that a rollback dropped.
    """
    root = folder / TEXTS
    if root.is_symlink() or not root.is_dir():
        return []
    run_id = known_id(folder)
    parts = sorted(part for part in root.glob("*") if part.is_dir() and not part.is_symlink())
    found = (_newest(folder, f"{TEXTS}/{part.name}", step, run_id) for part in parts)
    return [one for one in found if one is not None]


def _newest(folder: Path, inner: str, step: int, run_id: str | None) -> Written | None:
    files = sorted(_steps_in(folder / inner), reverse=True)
    for at, name in files:
        content = _content(folder, f"{inner}/{name}") if at <= step else {}
        if content and run_id in (None, content.get("run_id")):
            rows = objects_of(content.get("texts"))
            texts = [
                (text_of(row.get("prompt")) or "", text_of(row.get("text")) or "") for row in rows
            ]
            step_said = count_of(content.get("step"))
            return Written(printable(inner), step_said, texts, len(files) - 1)
    return None


def _steps_in(folder: Path) -> Iterator[tuple[int, str]]:
    """Step and name of each file with texts."""
    for path in folder.glob("step-*.json"):
        if match := _FILE.fullmatch(path.name):
            yield int(match[1]), path.name


def _content(folder: Path, name: str) -> Mapping[str, Any]:
    """Content of a file; nothing where it can't be read."""
    try:
        content = json.loads(read_inside(folder, name, limit_bytes=LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}
