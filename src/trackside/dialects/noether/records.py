"""Values that callbacks of Noether write, from `add_scalar` to records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.run import Run

Written = dict[str, list[float]]
"""Values by full name, oldest first."""


def written_by(run: Run) -> Written:
    """Values that callbacks have written on this rank and that aren't recorded yet."""
    store = vars(run).setdefault("_dialects", {}).setdefault("noether", {})
    written: Written = store.setdefault("__written__", {})
    return written


def record_written(run: Run, *, together: bool) -> None:
    """Record what was written: each value on its own, those of several names beside each other.

    Args:
        run: The run.
        together: Whether all ranks are here. Where there are several, records hold the means of
            those that have written; what is written while they aren't together waits until then.
    """
    if run.world.size > 1 and not together:
        return
    written = written_by(run)
    rows = rows_of(run.world.gather(dict(written)))
    written.clear()
    progress = run.progress
    for row in rows:
        record = Record(
            row,
            progress.steps_completed,
            progress.epochs_completed,
            progress.samples_completed,
            progress.seconds,
        )
        run.history.append(record)
        run.emit(Callback.on_log, record)


def rows_of(of_ranks: Iterable[Mapping[str, list[float]]]) -> list[dict[str, float]]:
    """The first values of all names, the second ones, and so on: means over those who have them."""
    found: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for written in of_ranks:
        for name, values in written.items():
            for turn, value in enumerate(values):
                found[turn][name].append(value)
    return [
        {name: sum(values) / len(values) for name, values in found[turn].items()}
        for turn in sorted(found)
    ]
