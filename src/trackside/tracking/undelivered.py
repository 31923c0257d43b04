"""Pieces that a tracker has not taken yet, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, final

import numpy as np

from trackside.tracking.media import Audio, File, Histogram, Picture, Table, Text, Video

Medium = Picture | Histogram | Text | Table | Audio | Video | File

KINDS: dict[str, type[Medium]] = {
    "picture": Picture,
    "histogram": Histogram,
    "text": Text,
    "table": Table,
    "sound": Audio,
    "film": Video,
    "file": File,
}
"""By the word for each in messages."""
WRITERS = {
    "picture": "write_picture",
    "histogram": "write_histogram",
    "text": "write_text",
    "table": "write_table",
    "sound": "write_audio",
    "film": "write_video",
    "file": "write_file",
}
"""Method of a tracker that takes each."""
MOST_BYTES = 64 * 2**20
"""Of all together in a checkpoint; those that come after are left out, and lost in a kill."""
_REMEMBERED = 1000
"""Pieces whose number is known: more than come in a step."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A medium on its way to a tracker."""

    kind: str
    name: str
    step: int
    what: str
    """Its name in the ledger."""
    medium: Any
    key: object = field(default_factory=object)


@final
class Numbers:
    """Numbers pieces of one name and step, so that the second isn't taken for the first."""

    def __init__(self, seen: Iterable[tuple[str, int, int]] = ()) -> None:
        self._seen = {(what, step): number for what, step, number in seen}

    def name(self, what: str, step: int) -> str:
        """The name of the next such piece in the ledger: `text notes`, `text notes (2)`, ..."""
        number = self._seen.pop((what, step), 0) + 1
        self._seen[what, step] = number
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return what if number == 1 else f"{what} ({number})"

    def state(self) -> dict[str, Any]:
        """The numbers of the newest step, for a checkpoint that is saved within it."""
        newest = max((step for _, step in self._seen), default=0)
        seen = [[what, step, n] for (what, step), n in self._seen.items() if step == newest]
        return {"seen": seen} if seen else {}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Numbers:
        """The numbers in such a state."""
        return cls(state.get("seen", ()))


def state_of(waiting: Iterable[Waiting]) -> dict[str, Any]:
    """Media as values that a checkpoint takes: arrays, texts, numbers, lists."""
    media, room = [], MOST_BYTES
    for one in waiting:
        values = {f.name: getattr(one.medium, f.name) for f in fields(one.medium)}
        room -= sum(
            value.nbytes if isinstance(value, np.ndarray) else 100 for value in values.values()
        )
        if room >= 0:
            place = {"kind": one.kind, "name": one.name, "step": one.step, "what": one.what}
            media.append({**place, "fields": {n: _plain(value) for n, value in values.items()}})
    return {"media": media} if media else {}


def waiting_in(state: Mapping[str, Any]) -> Iterator[Waiting]:
    """The media in such a state."""
    for given in state.get("media", ()):
        values = dict(given["fields"])
        if values.get("path") is not None:
            values["path"] = Path(values["path"])
        if given["kind"] == "table":
            values["columns"] = tuple(values["columns"])
            values["rows"] = tuple(tuple(row) for row in values["rows"])
        medium = KINDS[given["kind"]](**values)
        yield Waiting(given["kind"], given["name"], given["step"], given["what"], medium)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value
