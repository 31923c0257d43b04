"""Records and their history, and the question asked of it everywhere: has it improved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trackside.errors import ConfigurationError, HistoryError

Mode = Literal["min", "max"]


def has_improved(value: float, best: float | None, mode: Mode, min_delta: float = 0.0) -> bool:
    """Whether `value` beats `best` by more than `min_delta`, in the metric's own unit.

    NaN never does; anything else beats None.
    """
    if math.isnan(value):
        return False
    if best is None or math.isnan(best):
        return True
    return value < best - min_delta if mode == "min" else value > best + min_delta


def check_mode(mode: str, option: str = "mode") -> Mode:
    """`mode` itself when it is `"min"` or `"max"`, else an error about `option`."""
    if mode == "min":
        return "min"
    if mode == "max":
        return "max"
    raise ConfigurationError(
        f"mode={mode!r} is not a direction",
        expected="'min' or 'max'",
        received=repr(mode),
        option=option,
    )


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

    def row(self) -> dict[str, float]:
        """Axes and values in one flat mapping, for tables."""
        axes = {"step": self.step, "epoch": self.epoch, "samples": self.samples}
        return {**axes, "seconds": self.seconds, **self.values}


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of a metric and the record that holds it."""

    value: float
    record: Record


class History:
    """All records of a run, in the order they were made.

    Example:
        >>> history = History()
        >>> history.append(Record({"val/loss": 0.5}, step=10, epoch=1, samples=320, seconds=1.0))
        >>> history.latest("val/loss")
        0.5
    """

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._latest: dict[str, float] = {}

    def append(self, record: Record) -> None:
        """Add `record`. Axes never go back: a record before the last one is an error."""
        if self._records and record.step < self._records[-1].step:
            raise HistoryError(
                f"record of step {record.step} after one of step {self._records[-1].step}"
            )
        self._records.append(record)
        self._latest.update(record.values)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, index: int) -> Record:
        return self._records[index]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all values logged so far, in order of first appearance."""
        return tuple(self._latest)

    def latest(self, name: str, default: float | None = None) -> float | None:
        """The newest value of `name`, or `default` when it was never logged."""
        return self._latest.get(name, default)

    def values(self, name: str) -> list[float]:
        """All values of `name`, oldest first."""
        return [record.values[name] for record in self._records if name in record.values]

    def points(self, name: str, axis: str = "step") -> list[tuple[float, float]]:
        """Pairs (axis, value) of `name`; axis is `step`, `epoch`, `samples` or `seconds`."""
        return [(getattr(r, axis), r.values[name]) for r in self._records if name in r.values]

    def best(self, name: str, mode: Mode = "min") -> Best | None:
        """The best value of `name` (the first one, when equal), or None when there is none."""
        best: Best | None = None
        for record in self._records:
            value = record.values.get(name)
            if value is not None and has_improved(value, best.value if best else None, mode):
                best = Best(value, record)
        return best

    def rows(self) -> list[dict[str, float]]:
        """One flat mapping per record, as `pandas.DataFrame(history.rows())` takes them."""
        return [record.row() for record in self._records]

    def state_dict(self) -> dict[str, Any]:
        """The records as plain lists and mappings."""
        return {
            "records": [
                [r.step, r.epoch, r.samples, r.seconds, dict(r.values)] for r in self._records
            ]
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace all records by those of `state`."""
        self._records.clear()
        self._latest.clear()
        for step, epoch, samples, seconds, values in state["records"]:
            self.append(Record(values, step, epoch, samples, seconds))
