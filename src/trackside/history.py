"""Records and their history, and the question asked of it everywhere: has it improved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from trackside.errors import ConfigurationError, HistoryError
from trackside.records import TOKENS, Columns, stored_values, tokens_of
from trackside.records import Record as Record
from trackside.vocabulary.directions import Mode as Mode
from trackside.vocabulary.directions import check_mode as check_mode


def has_improved(value: float, best: float | None, mode: Mode, min_delta: float = 0.0) -> bool:
    """Whether `value` beats `best` by more than `min_delta`, in the metric's own unit.

    NaN and infinity never do; anything else beats None.
    """
    if not math.isfinite(value):
        return False
    if best is None or not math.isfinite(best):
        return True
    return value < best - min_delta if mode == "min" else value > best + min_delta


def best_key(value: float, mode: Mode) -> float:
    """The key that sorts values best first."""
    return value if mode == "min" else -value


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of a metric and the record that holds it."""

    value: float
    record: Record


@dataclass(frozen=True, slots=True)
class HistorySnapshot:
    """The first records of a history, which more may follow. Taking it copies nothing."""

    columns: Columns
    count: int


class History:
    """All records of a run, in the order they were made.

    Kept as columns: a value takes 8 bytes, a record 44 more. Values come back as floats.

    Example:
        >>> history = History()
        >>> history.append(Record({"val/loss": 0.5}, step=10, epoch=1, samples=320, seconds=1.0))
        >>> history.latest("val/loss")
        0.5
    """

    def __init__(self) -> None:
        self._columns = Columns()
        self._latest: dict[str, float] = {}
        self._best: dict[str, dict[Mode, tuple[int, float] | None]] = {}
        """Row and value of the best, by name and mode, of those that were asked for."""

    def append(self, record: Record) -> None:
        """Add `record`. Axes never go back: a record before the last one is an error."""
        columns, row = self._columns, len(self._columns)
        if row and record.step < columns.steps[-1]:
            raise HistoryError(
                f"record of step {record.step} after one of step {columns.steps[-1]}"
            )
        columns.append(record)
        self._latest.update(record.values)
        for name in self._best.keys() & record.values.keys() if self._best else ():
            for mode, known in self._best[name].items():
                self._best[name][mode] = _better(known, (row, record.values[name]), mode)

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Record]:
        return self.since(0)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        rows = range(len(self))[index]
        if isinstance(rows, range):
            return [self._columns.record(row) for row in rows]
        return self._columns.record(rows)

    def since(self, count: int) -> Iterator[Record]:
        """The records after the first `count`."""
        return map(self._columns.record, range(count, len(self)))

    def __repr__(self) -> str:
        latest = ", ".join(f"{name} {value:.6g}" for name, value in self._last_values().items())
        records = f"{len(self)} record{'' if len(self) == 1 else 's'}"
        return (
            f"<History: {records} to step {self[-1].step}; {latest}>"
            if len(self)
            else "<History: empty>"
        )

    def _repr_html_(self) -> str:
        """The table that notebooks show instead of the repr."""
        from html import escape  # noqa: PLC0415 - nobody else has to wait for its import

        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{value:.6g}</td></tr>"
            for name, value in self._last_values().items()
        )
        return f"<table><tr><th>metric</th><th>last value</th></tr>{rows}</table>"

    def _last_values(self) -> dict[str, float]:
        found = ((name, self.latest(name)) for name in self.names)
        return {name: value for name, value in found if value is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all values logged so far, in order of first appearance."""
        return tuple(self._latest)

    def latest(self, name: str, default: float | None = None) -> float | None:
        """The newest value of `name`, or `default` when it was never logged."""
        return self._latest.get(name, default)

    def values(self, name: str) -> list[float]:
        """All values of `name`, oldest first."""
        return [value for _, value in self._columns.points(name)]

    def points(self, name: str, axis: str = "step") -> list[tuple[float, float]]:
        """Pairs (axis, value) of `name`; axis is one of `axes()`."""
        axes = self.axes()
        if axis not in axes:
            raise ConfigurationError(
                f"a record has no axis {axis!r}", expected=", ".join(axes), received=repr(axis)
            )
        return [(axes[axis][row], value) for row, value in self._columns.points(name)]

    def rows_of(self, name: str) -> list[tuple[int, float]]:
        """Pairs (row, value) of `name`; row counts all records from 0."""
        return self._columns.points(name)

    def axes(self) -> dict[str, Sequence[float]]:
        """`step`, `epoch`, `samples`, `seconds` of all records, and `tokens` where they count."""
        columns = self._columns
        tokens = columns.tokens()
        return {
            "step": columns.steps,
            "epoch": columns.epochs,
            "samples": columns.samples,
            "seconds": columns.seconds,
            **({"tokens": tokens} if tokens else {}),
        }

    def best(self, name: str, mode: Mode = "min") -> Best | None:
        """The best value of `name` (the first one, when equal), or None when there is none.

        The first question looks through all values of `name`; from then on it is kept up to date.
        """
        asked = self._best.setdefault(name, {})
        if mode not in asked:
            best: tuple[int, float] | None = None
            for point in self._columns.points(name):
                best = _better(best, point, mode)
            asked[mode] = best
        found = asked[mode]
        return None if found is None else Best(found[1], self._columns.record(found[0]))

    def rows(self) -> list[dict[str, float]]:
        """One flat mapping per record, as `pandas.DataFrame(history.rows())` takes them."""
        return [record.row() for record in self]

    def snapshot(self) -> HistorySnapshot:
        """The records so far, for whoever keeps them, without what is appended later."""
        return HistorySnapshot(self._columns, len(self))

    def state_dict(self) -> dict[str, Any]:
        """The records as plain lists and mappings."""
        return {
            "records": [[r.step, r.epoch, r.samples, r.seconds, stored_values(r)] for r in self]
        }

    def load_state_dict(self, state: Mapping[str, Any] | HistorySnapshot) -> None:
        """Replace all records by those of `state`: a snapshot, or what `state_dict` returned."""
        if isinstance(state, HistorySnapshot):
            columns = state.columns.first(state.count)
        else:
            columns = Columns()
            for step, epoch, samples, seconds, values in state["records"]:
                named = dict(values)
                tokens = tokens_of(named)
                columns.append(Record(named, step, epoch, samples, seconds, tokens))
        self._columns = columns
        self._latest = {n: columns.newest(n) for n in columns.tables_of if n != TOKENS}
        self._best = {}


class PrefixedHistory(History):
    """A history that keeps values under a prefix, to put several runs' into one table.

    Who asks it for a value names it with the prefix or without. Loggers get records as they were
    made; files and tables that are made of the history have the prefix.

    Args:
        prefix: In front of every name, such as `teacher/`.

    Example:
        >>> class Fold(Run):
        ...     def make_history(self):
        ...         return PrefixedHistory("fold 1/")
        >>> class FoldTrainer(Trainer):
        ...     run_class = Fold
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def append(self, record: Record) -> None:
        """Add `record`, its values under the prefix."""
        values = {self.full_name(name): value for name, value in record.values.items()}
        super().append(replace(record, values=values))

    def full_name(self, name: str) -> str:
        """`name` with the prefix."""
        return name if name.startswith(self.prefix) else f"{self.prefix}{name}"

    def latest(self, name: str, default: float | None = None) -> float | None:
        """See `History`."""
        return super().latest(self.full_name(name), default)

    def values(self, name: str) -> list[float]:
        """See `History`."""
        return super().values(self.full_name(name))

    def points(self, name: str, axis: str = "step") -> list[tuple[float, float]]:
        """See `History`."""
        return super().points(self.full_name(name), axis)

    def best(self, name: str, mode: Mode = "min") -> Best | None:
        """See `History`."""
        return super().best(self.full_name(name), mode)


def _better(
    known: tuple[int, float] | None, new: tuple[int, float], mode: Mode
) -> tuple[int, float] | None:
    return new if has_improved(new[1], None if known is None else known[1], mode) else known
