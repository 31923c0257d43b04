"""Notes of the steps that followed a checkpoint: as lines of a file, and compared."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trackside.run_folder.inside import open_inside

TOLERANCE = 0.01
"""Relative difference of losses from which they differ, where operations aren't deterministic."""
_READ_BYTES = 4 * 2**20
"""Bytes at the end of the file that are read: notes of the newest checkpoints, some thousands."""


@dataclass(frozen=True, slots=True)
class Note:
    """A step as it happened."""

    step: int
    samples: Sequence[list[int] | None]
    """Indices of the samples of each batch; None where they aren't known."""
    contents: Sequence[int]
    """A digest of each batch."""
    losses: Sequence[float]
    """The loss of each batch."""
    conditions: Sequence[int]
    """Ranks and batches per step."""

    def line(self, key: str) -> str:
        """The line that keeps it, as a step after the checkpoint `key`."""
        # Without `asdict`, which copies each index of each sample.
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({"after": key, **own}) + "\n"


def read_notes(folder: Path, name: str, key: str) -> dict[int, Note]:
    """Notes of the steps after a checkpoint, by step; the newest of each. Other lines are left out.

    Args:
        folder: Of the checkpoints.
        name: Of the file; it need not exist.
        key: The checkpoint.
    """
    try:
        with open_inside(folder, name) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return {}  # an older run, or one whose notes could not be written
    found: dict[int, Note] = {}
    for line in lines:
        note = _note(line, key)
        if note is not None:
            found[note.step] = note
    return found


def _note(line: bytes, key: str) -> Note | None:
    try:
        content: dict[str, Any] = json.loads(line)
        if content.pop("after") != key:
            return None
        return Note(**content)
    except (ValueError, TypeError, KeyError, AttributeError):  # a line that a kill has cut off
        return None


def differences(before: Note, now: Note, *, losses: bool, exact: bool) -> tuple[str, str] | None:
    """The first thing in which two steps differ, and what may be behind it; None: they are equal.

    Args:
        before: The step as it was before the resume.
        now: The step after it.
        losses: Whether losses are compared.
        exact: Whether they have to be the same to the last bit.
    """
    if len(before.contents) != len(now.contents):
        return (
            f"it takes {len(now.contents)} batches, and took {len(before.contents)}",
            "the data has another length",
        )
    if None not in before.samples and None not in now.samples and before.samples != now.samples:
        was, got = _first_samples(before.samples, now.samples)
        return (
            f"it takes the samples {got}, and took {was}",
            "another order, another sampler, or data of another length",
        )
    if list(before.contents) != list(now.contents):
        same = None not in before.samples and None not in now.samples
        return (
            "its samples have the same numbers and other contents"
            if same
            else "its batch has other contents",
            "the data was replaced or changed, a transform is another one, or samples were moved",
        )
    if not losses or all(map(same_number if exact else _close, before.losses, now.losses)):
        return None
    return (
        f"with the same batch, its loss is {now.losses[0]!r}, and was {before.losses[0]!r}",
        "the model or the loss is another one, an operation isn't deterministic "
        "(Settings(deterministic=True)), or processor or versions are others",
    )


def _first_samples(before: Sequence[Any], now: Sequence[Any]) -> tuple[str, str]:
    was, got = next(pair for pair in zip(before, now, strict=True) if pair[0] != pair[1])
    return _shown(was), _shown(got)


def _shown(samples: list[int]) -> str:
    return ", ".join(map(str, samples[:6])) + (", ..." if len(samples) > 6 else "")


def same_number(one: float, other: float) -> bool:
    """Whether two numbers are the same to the last bit, or both NaN."""
    return one == other or (math.isnan(one) and math.isnan(other))


def _close(one: float, other: float) -> bool:
    return same_number(one, other) or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-6)
