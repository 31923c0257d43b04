"""Files that grow by rows: begun whole, so that a killed run leaves no half of one behind."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

from trackside.run_folder.inside import create_beside


@final
class RowFile:
    """A file of rows, open for more. Each write goes through to the system: a kill loses no row.

    After a write that failed, say because the disk was full, the next one first cuts off what is
    left of it: the file holds whole rows only.

    Args:
        path: Where; a file that is there is replaced at once, when the new one is whole.
        rows: The rows that it begins with, each with its end.
    """

    def __init__(self, path: Path, rows: Iterable[str] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.size_bytes = 0
        """Bytes of the rows that are whole."""
        self._is_torn = False
        descriptor, unfinished = create_beside(path)  # no link of that name is followed
        self._file: Any = os.fdopen(descriptor, "wb", buffering=0)
        try:
            for block in _blocks(rows):
                self.write(block)
            os.replace(unfinished, path)
        except BaseException:
            self._file.close()
            unfinished.unlink(missing_ok=True)
            raise

    def write(self, rows: Iterable[str]) -> None:
        """Add `rows`: all of them or, with an `OSError`, none."""
        if self._is_torn:
            self._file.seek(self.size_bytes)
            self._file.truncate()
        data = "".join(rows).encode("utf-8")
        self._is_torn = True
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._is_torn = False
        self.size_bytes += len(data)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _blocks(rows: Iterable[str]) -> Iterable[list[str]]:
    """Many rows at a time: a call of the system for each would take long."""
    block: list[str] = []
    for row in rows:
        block.append(row)
        if len(block) == 1000:
            yield block
            block = []
    yield block


def set_aside(path: Path) -> Path | None:
    """Rename what is at `path` to the next free `name.1.ext`, `name.2.ext`, ...

    Returns:
        The new path, or None when there was nothing.
    """
    if not path.exists():
        return None
    number = 1
    while (other := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(other)
    return other
