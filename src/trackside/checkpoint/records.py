"""Records to bytes that more can be appended to, and back: blocks of a JSON line and its numbers.

A block is one line of JSON and, after it, the columns of its records, little-endian::

    {"records": 500, "names": ["train_recent/loss"], "tables": [[0]]}
    kinds u32 | steps i64 | epochs i64 | samples i64 | seconds f64     each `records` long
    values f64                                                         table by table, row by row

`names` and `tables` are those that no block before it has. A table is the set of names that a
record holds, by their places in the file; a record's kind is the place of its table. A first part
that ends between two blocks is itself such bytes.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, final

from trackside.history import HistorySnapshot
from trackside.records import Columns

BLOCK_RECORDS = 2**14
"""Records per block: the loop waits for the interpreter's lock while columns are copied."""

_AXES = ("kinds", "steps", "epochs", "samples", "seconds")
_BYTES_OF_AXES = 4 + 8 + 8 + 8 + 8


@final
class Encoder:
    """Turns the records of one history into blocks, in order, each record once."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.count = 0
        """Records encoded so far."""
        self._places: dict[str, int] = {}
        self._tables = 0

    def blocks(self, count: int) -> Iterator[bytes]:
        """The new records up to `count`."""
        while self.count < count:
            start, stop = self.count, min(self.count + BLOCK_RECORDS, count)
            yield self._block(start, stop)
            self.count = stop

    def _block(self, start: int, stop: int) -> bytes:
        columns = self.columns
        kinds = columns.kinds[start:stop]
        known, places = len(self._places), self._places
        new = columns.tables[self._tables : max(self._tables, max(kinds) + 1)]
        tables = [[places.setdefault(n, len(places)) for n in table.names] for table in new]
        self._tables += len(new)
        header = {"records": stop - start, "names": list(places)[known:], "tables": tables}
        line = json.dumps(header, separators=(",", ":")) + "\n"
        parts = [_little_endian(getattr(columns, axis)[start:stop]) for axis in _AXES]
        parts += [
            _little_endian(columns.tables[kind].between(start, stop)) for kind in sorted(set(kinds))
        ]
        return b"".join([line.encode("ascii"), *parts])


def decode(data: bytes) -> HistorySnapshot:
    """The records in blocks. Raises `ValueError` for what `Encoder` doesn't make."""
    columns, place, names = Columns(), 0, []
    while place < len(data):
        end = data.find(b"\n", place)
        if end < 0:
            raise ValueError("a block without a line of JSON")
        header = _header(data[place:end])
        names += header["names"]
        for table in header["tables"]:
            _add_table(columns, names, table)
        place = _read_block(columns, data, end + 1, header["records"])
    return HistorySnapshot(columns, len(columns))


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
        names, tables, count = header["names"], header["tables"], header["records"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"a block of records begins with what it can't: {error}") from error
    whole = type(count) is int and count > 0 and isinstance(names, list)
    if not whole or not all(isinstance(name, str) for name in names):
        raise ValueError("a block of records has no count, or names that are no text")
    if not isinstance(tables, list) or not all(isinstance(table, list) for table in tables):
        raise ValueError("a block of records has tables that are no lists")
    return dict(header)


def _add_table(columns: Columns, names: list[str], table: list[Any]) -> None:
    if not all(type(place) is int and 0 <= place < len(names) for place in table):
        raise ValueError("a table of records has a name that is not there")
    own, before = tuple(names[place] for place in table), len(columns.tables)
    if len(set(own)) < len(own) or columns.kind_of(own) != before:
        raise ValueError("a table of records, or a name in it, is there twice")


def _read_block(columns: Columns, data: bytes, place: int, count: int) -> int:
    """Append the records of one block; returns where the next begins."""
    if count * _BYTES_OF_AXES > len(data) - place:  # before anything is made of that size
        raise ValueError(f"{count} records in {len(data) - place} bytes")
    before = len(columns)
    for axis in _AXES:
        column = getattr(columns, axis)
        size = count * column.itemsize
        column.extend(_from_little_endian(column.typecode, data[place : place + size]))
        place += size
    kinds = columns.kinds[before:]
    rows_of = Counter(kinds)
    if max(rows_of) >= len(columns.tables):
        raise ValueError("a record is of a table that is not there")
    for kind in sorted(rows_of):
        table = columns.tables[kind]
        size = rows_of[kind] * len(table.names) * table.values.itemsize
        if size > len(data) - place:
            raise ValueError(f"a block of records lacks values: {size} bytes")
        table.values.extend(_from_little_endian("d", data[place : place + size]))
        place += size
    _number(columns, kinds, before, alike=len(rows_of) == 1)
    return place


def _number(columns: Columns, kinds: array[int], before: int, *, alike: bool) -> None:
    """Tell each table which of the history's records are its own."""
    if alike:
        columns.tables[kinds[0]].rows.extend(range(before, before + len(kinds)))
        return
    rows = [table.rows for table in columns.tables]
    for row, kind in enumerate(kinds, before):
        rows[kind].append(row)


def _little_endian(column: array[Any]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _from_little_endian(typecode: str, data: bytes) -> array[Any]:
    column: array[Any] = array(typecode, data)
    if sys.byteorder == "big":
        column.byteswap()
    return column
