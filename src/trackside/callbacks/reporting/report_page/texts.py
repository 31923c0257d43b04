"""Texts that a language model wrote, for the report: the newest ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackside.callbacks.reporting.report_page.plain_values import count_of, objects_of, text_of
from trackside.run_folder.inside import read_inside
from trackside.run_folder.names import TEXTS

LIMIT_BYTES = 2**20
"""Bytes of the file that a report reads."""


@dataclass(frozen=True, slots=True)
class Written:
    """The texts of one step."""

    step: int
    texts: list[tuple[str, str]]
    """Each prompt, and the text of it."""
    others: int
    """Files of other steps in the folder."""


def texts_of(folder: Path) -> Written | None:
    """The newest texts; None where there are none, or where the file can't be read."""
    root = folder / TEXTS
    if root.is_symlink() or not root.is_dir():
        return None
    files = sorted(path.name for path in root.glob("step-*.json"))
    if not files:
        return None
    try:
        content = json.loads(read_inside(folder, f"{TEXTS}/{files[-1]}", limit_bytes=LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, Mapping):
        return None
    rows = objects_of(content.get("texts"))
    texts = [(text_of(row.get("prompt")) or "", text_of(row.get("text")) or "") for row in rows]
    return Written(count_of(content.get("step")), texts, len(files) - 1)
