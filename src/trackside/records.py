"""Records of what was logged, and the columns of numbers that they are kept in."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter


@dataclass(frozen=True, slots=True)
class Record:
    """Values logged at one point, with all axes."""

    values: Mapping[str, float]
    step: int
    """Steps completed."""
    epoch: int
    """Epochs completed."""
    samples: int
    """Samples completed, over all ranks."""
    seconds: float
    """Wall-clock seconds of training, over all resumes."""
    tokens: int | None = None
    """Tokens completed, over all ranks; None where steps don't say how many there are."""

    def row(self) -> dict[str, float]:
        """Axes and values in one flat mapping, for tables."""
        axes = {"step": self.step, "epoch": self.epoch, "samples": self.samples}
        axes |= {} if self.tokens is None else {"tokens": self.tokens}
        return {**axes, "seconds": self.seconds, **self.values}


class Table:
    """Records that hold the same names: their values row by row, in the order of `names`."""

    __slots__ = ("names", "places", "rows", "values")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.places = {name: place for place, name in enumerate(names)}
        self.rows = array("Q")
        """Rows of these records in the history, in rising order."""
        self.values = array("d")

    def between(self, start: int, stop: int) -> array[float]:
        """The values of the records from `start` up to `stop`, as a copy."""
        width = len(self.names)
        first, last = bisect_left(self.rows, start), bisect_left(self.rows, stop)
        return self.values[first * width : last * width]

    def column(self, name: str) -> array[float]:
        """All values of `name`, as a copy."""
        return self.values[self.places[name] :: len(self.names)]


_AXES = ("steps", "epochs", "samples", "seconds", "kinds")
TOKENS = "axis:tokens"
"""Tokens are kept as a value of this name: most runs count none."""


class Columns:
    """Records as columns of numbers: axes of all, values by the set of names that a record has.

    Only ever appended to, so that a first part of them can be read while more is appended. What is
    read is copied out: memory in use by a reader can't grow.
    """

    __slots__ = (
        "_known",
        "_tokens",
        "epochs",
        "kinds",
        "samples",
        "seconds",
        "steps",
        "tables",
        "tables_of",
    )

    def __init__(self) -> None:
        self.steps = array("q")
        self.epochs = array("q")
        self.samples = array("q")
        self.seconds = array("d")
        self.kinds = array("I")
        """For each record, the place of its table in `tables`."""
        self.tables: list[Table] = []
        """One for each set of names, in order of first use."""
        self.tables_of: dict[str, list[Table]] = {}
        """For each name, in order of first use, the tables that have it."""
        self._known: dict[tuple[str, ...], int] = {}
        self._tokens: Sequence[float] = ()

    def __len__(self) -> int:
        return len(self.kinds)

    def kind_of(self, names: tuple[str, ...]) -> int:
        """The place of the table for `names`; it is made when there is none."""
        kind = self._known.get(names)
        if kind is None:
            kind = self._known[names] = len(self.tables)
            self.tables.append(Table(names))
            for name in names:
                self.tables_of.setdefault(name, []).append(self.tables[kind])
        return kind

    def append(self, record: Record) -> None:
        """Add one record."""
        named = stored_values(record)
        values = array("d", named.values())
        axes = array("q", (record.step, record.epoch, record.samples))
        kind = self.kind_of(tuple(named))
        table = self.tables[kind]
        table.rows.append(len(self))
        table.values.extend(values)
        self.steps.append(axes[0])
        self.epochs.append(axes[1])
        self.samples.append(axes[2])
        self.seconds.append(record.seconds)
        self.kinds.append(kind)

    def record(self, row: int) -> Record:
        """The record at `row`, counted from 0."""
        table = self.tables[self.kinds[row]]
        values = dict(zip(table.names, table.between(row, row + 1), strict=True))
        step, epoch, samples = self.steps[row], self.epochs[row], self.samples[row]
        return Record(values, step, epoch, samples, self.seconds[row], tokens_of(values))

    def first(self, count: int) -> Columns:
        """A copy of the first `count` records."""
        copy = Columns()
        for axis in _AXES:
            setattr(copy, axis, getattr(self, axis)[:count])
        for table in self.tables[: max(copy.kinds, default=-1) + 1]:
            own = copy.tables[copy.kind_of(table.names)]
            own.values = table.between(0, count)
            own.rows = table.rows[: bisect_left(table.rows, count)]
        return copy

    def newest(self, name: str) -> float:
        """The last value of `name`, which some record has."""
        table = max(self.tables_of[name], key=lambda table: table.rows[-1])
        return table.values[table.places[name] - len(table.names)]

    def points(self, name: str) -> list[tuple[int, float]]:
        """Rows and values of `name`, oldest first."""
        found: list[tuple[int, float]] = []
        for table in self.tables_of.get(name, ()):
            found += zip(table.rows, table.column(name), strict=True)
        found.sort(key=itemgetter(0))
        return found

    def tokens(self) -> Sequence[float]:
        """Tokens of each record, NaN where it has none; empty where no record has any."""
        if TOKENS in self.tables_of and len(self._tokens) != len(self):
            held = dict(self.points(TOKENS))
            self._tokens = [held.get(row, math.nan) for row in range(len(self))]
        return self._tokens


def stored_values(record: Record) -> dict[str, float]:
    """The values of a record, tokens among them where it has any."""
    counted = {} if record.tokens is None else {TOKENS: record.tokens}
    return {**record.values, **counted}


def tokens_of(values: dict[str, float]) -> int | None:
    """Take the tokens out of stored values; None where they have none."""
    found = values.pop(TOKENS, None)
    return None if found is None else int(found)
