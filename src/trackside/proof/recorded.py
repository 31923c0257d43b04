"""Comparison of records that a retrace makes with those that the run had made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trackside.callbacks.reporting.report_page.reading import read_run
from trackside.history import Record
from trackside.loop.followed import same_number
from trackside.proof.retrace import LOSSES

SKIPPED = "train/skipped_steps"


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not the one that was recorded."""

    step: int
    name: str
    recorded: float
    now: float

    def __str__(self) -> str:
        return (
            f"{self.name} of step {self.step} is {self.now!r}, and {self.recorded!r} was recorded"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a step made again is the one that was recorded."""

    compared: int
    """Values that were compared."""
    differences: tuple[Difference, ...]
    reaches_the_step: bool
    """Whether a record was compared that the step has a part in: its loss, or its weights."""

    @property
    def bitwise(self) -> bool | None:
        """Whether it is the same to the last bit; None where no record can show it."""
        if self.differences:
            return False
        return True if self.reaches_the_step else None

    def __str__(self) -> str:
        if self.differences:
            more = len(self.differences) - 1
            return f"not the step that was recorded: {self.differences[0]}" + (
                f", and {more} more values differ" if more else ""
            )
        if not self.reaches_the_step:
            return (
                f"no record has a part of this step; {self.compared} recorded values before it "
                "are the same to the last bit"
            )
        return (
            f"the step that was recorded, to the last bit: {self.compared} recorded values are "
            "the same"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        differences = [asdict(one) for one in self.differences]
        return {"bitwise": self.bitwise, "compared": self.compared, "differences": differences}


def recorded(folder: Path) -> list[Record]:
    """The records of a run, in the order in which they were made."""
    return list(read_run(folder).history)


def first_record_from(records: Iterable[Record], step: int) -> int | None:
    """The step of the first record at or after `step` that holds the training loss."""
    return next(
        (one.step for one in records if one.step >= step and not LOSSES.isdisjoint(one.values)),
        None,
    )


def compare(
    now: Iterable[Record], before: Iterable[Record], names: Iterable[str], step: int
) -> Verdict:
    """Compare records of the same steps.

    Args:
        now: Those of the retrace.
        before: Those of the run.
        names: Names of values that training alone decides: losses and metrics, no times.
        step: The step of interest.
    """
    known = {(one.step, name): value for one in before for name, value in one.values.items()}
    wanted = {*names, *LOSSES, SKIPPED}
    compared, reaches = 0, False
    differences: list[Difference] = []
    for record in now:
        for name in sorted(record.values.keys() & wanted):
            was = known.get((record.step, name))
            if was is None:
                continue
            compared += 1
            reaches = reaches or record.step >= step
            if not same_number(value := record.values[name], was):
                differences.append(Difference(record.step, name, was, value))
    return Verdict(compared, tuple(differences), reaches)


def decided_by_training(sets: Iterable[str], metrics: Mapping[str, Any]) -> list[str]:
    """Names that the loop itself records: the losses and the metrics of all data."""
    return [f"{name}/{value}" for name in sets for value in ("loss", *metrics)]
