"""Retention of checkpoints: the last, the best, one every so often. A pure function."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from trackside.checkpoint.ledger import Entry
from trackside.errors import ConfigurationError
from trackside.history import best_key, check_mode
from trackside.progress import whole_number


@dataclass(frozen=True, slots=True)
class Retention:
    """Rules of retention. A checkpoint stays if any rule keeps it; without a rule all stay.

    The newest always stays: a run has to be able to go on.
    """

    keep_last: int | None = None
    """So many of the newest, at least 1."""
    keep_best: int | None = None
    """So many of the best by `monitor`, at least 1."""
    monitor: str | None = None
    """Full name of the metric that says which are best, for example `val/loss`."""
    mode: Literal["min", "max"] = "min"
    """Whether lower or higher values of `monitor` are better."""
    keep_every_steps: int | None = None
    """One in every so many steps is never deleted: the first at or after each multiple."""

    def __post_init__(self) -> None:
        for name in ("keep_last", "keep_best", "keep_every_steps"):
            value = getattr(self, name)
            if value is not None:
                whole_number(value, name, at_least=1)
        if (self.keep_best is None) != (self.monitor is None):
            raise ConfigurationError(
                "keep_best and monitor belong together",
                received=f"keep_best={self.keep_best}, monitor={self.monitor!r}",
                remedy='for example keep_best=3, monitor="val/loss"',
                option="keep_best" if self.monitor is None else "monitor",
            )
        check_mode(self.mode)

    @property
    def keeps_all(self) -> bool:
        """Whether there is no rule."""
        return self.keep_last is self.keep_best is self.keep_every_steps is None


def to_delete(
    entries: Sequence[Entry],
    retention: Retention,
    *,
    protected: Collection[str] = (),
    left_behind: Collection[int] = (),
) -> list[Entry]:
    """The entries that no rule keeps, oldest first.

    Args:
        entries: The checkpoints that are there, in any order.
        retention: The rules.
        protected: Names of checkpoints that stay in any case. Pinned ones do anyway.
        left_behind: Numbers of saves that the run has not come through: they take no place of one
            that it has, and are kept no shorter for it.
    """
    if retention.keeps_all or not entries:
        return []
    by_age = sorted(entries, key=lambda entry: entry.sequence)
    kept = {*protected, *(entry.name for entry in by_age if entry.pinned)}
    kept |= _kept(by_age, retention)
    kept |= _kept([entry for entry in by_age if entry.sequence not in left_behind], retention)
    return [entry for entry in by_age if entry.name not in kept]


def _kept(by_age: list[Entry], retention: Retention) -> set[str]:
    """Names of those that a rule keeps."""
    by_age = _without_replaced(by_age)
    kept = {entry.name for entry in by_age[-(retention.keep_last or 1) :]}
    if retention.keep_best is not None and retention.monitor is not None:
        ranked = best_first(by_age, retention.monitor, retention.mode)
        kept.update(entry.name for entry in ranked[: retention.keep_best])
    if retention.keep_every_steps is not None:
        first_of: dict[int, str] = {}
        for entry in by_age:
            first_of.setdefault(entry.step // retention.keep_every_steps, entry.name)
        kept.update(name for period, name in first_of.items() if period > 0)
    return kept


def _without_replaced(by_age: list[Entry]) -> list[Entry]:
    """The entries without those whose weights the next one holds, at a later point of the step."""
    later = [*by_age[1:], None]
    return [
        entry
        for entry, after in zip(by_age, later, strict=True)
        if after is None or not after.again or after.step != entry.step
    ]


def best_first(entries: Sequence[Entry], monitor: str, mode: Literal["min", "max"]) -> list[Entry]:
    """The entries with a finite value of `monitor`, best first; of equal ones the older is better.

    That is what "has it improved?" says: an equal value is not an improvement.
    """
    valued = [entry for entry in entries if math.isfinite(entry.metrics.get(monitor, math.nan))]
    return sorted(valued, key=lambda e: (best_key(e.metrics[monitor], mode), e.sequence))
