"""When something is due: `Every(steps=100)`, `Every(epochs=1) | Every(seconds=600)`.

A schedule is a value; a `Due` remembers where it stands. Counts fire when they are *crossed*,
whatever the batch size, and depend on progress alone, so that a resumed run fires as an unbroken
one does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trackside.errors import ScheduleError, about, did_you_mean
from trackside.progress import Progress, RunLimit

Unit = Literal["steps", "batches", "epochs", "samples", "seconds"]

_COUNTERS: dict[Unit, str] = {
    "steps": "steps_completed",
    "batches": "batches_completed",
    "epochs": "epochs_completed",
    "samples": "samples_completed",
    "seconds": "seconds",
}
_WORDS: dict[str, tuple[Unit, int]] = {
    "step": ("steps", 1),
    "update": ("steps", 1),
    "batch": ("batches", 1),
    "batche": ("batches", 1),
    "epoch": ("epochs", 1),
    "sample": ("samples", 1),
    "second": ("seconds", 1),
    "minute": ("seconds", 60),
    "hour": ("seconds", 3600),
    "day": ("seconds", 86400),
}
_TEXT = re.compile(r"\s*(?:every\s+)?(?P<amount>[\d_]+(?:\.\d+)?)?\s*(?P<word>[a-zA-Z]+)\s*")


@dataclass(frozen=True, slots=True)
class Every:
    """Due each time a count grows by an amount. Exactly one unit.

    Args:
        steps: Optimizer updates.
        batches: Micro-batches, looked at after each step.
        epochs: Whole passes over the training data.
        samples: Items of training data, over all ranks.
        seconds: Wall-clock seconds of training; decided on rank 0.
        first: Also due after the very first step (or epoch, when counting epochs).
        last: Also due once when training ends, unless it was due at that point anyway.

    Raises:
        ScheduleError: No unit, two units, or an amount that isn't positive.

    Example:
        >>> Every(steps=100)
        Every(steps=100)
        >>> Every.parse("10 minutes")
        Every(seconds=600)
    """

    steps: int | None = None
    batches: int | None = None
    epochs: int | None = None
    samples: int | None = None
    seconds: float | None = None
    first: bool = False
    last: bool = False

    def __post_init__(self) -> None:
        given = {unit: getattr(self, unit) for unit in _COUNTERS}
        given = {unit: amount for unit, amount in given.items() if amount is not None}
        if len(given) != 1:
            raise ScheduleError(
                "a schedule has exactly one unit",
                expected="one of " + ", ".join(_COUNTERS),
                received=", ".join(f"{u}={a}" for u, a in given.items()) or "none",
                remedy="for several, join them: Every(steps=100) | Every(seconds=600)",
            )
        ((unit, amount),) = given.items()
        whole = unit == "seconds" or (isinstance(amount, int) and not isinstance(amount, bool))
        if not whole or not amount > 0 or math.isinf(amount):
            raise ScheduleError(
                f"a schedule can't be every {amount!r} {unit}",
                expected="a positive number" if unit == "seconds" else "a positive whole number",
                received=repr(amount),
            )

    @property
    def unit(self) -> Unit:
        """The unit it counts in."""
        return next(unit for unit in _COUNTERS if getattr(self, unit) is not None)

    @property
    def amount(self) -> float:
        """How many units lie between two firings."""
        amount: float = getattr(self, self.unit)
        return amount

    @classmethod
    def parse(cls, schedule: str | Schedule, option: str | None = None) -> Schedule:
        """A schedule from text such as `"100 steps"`, `"epoch"`, `"50_000 samples or 10 minutes"`.

        A schedule comes back as it is. Raises `ScheduleError`, about `option`, for a unit that
        doesn't exist.
        """
        if isinstance(schedule, (Every, AnyOf)):
            return schedule
        with about(option=option):
            return cls._parse_text(schedule)

    @classmethod
    def _parse_text(cls, schedule: str) -> Schedule:
        if not isinstance(schedule, str):
            raise ScheduleError(
                f"{schedule!r} is not a schedule",
                expected="text such as '100 steps', '1 epoch', '10 minutes', or Every(steps=100)",
                received=type(schedule).__name__,
            )
        parts = [cls._parse_one(part) for part in re.split(r"\s+or\s+|\|", schedule)]
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    @classmethod
    def _parse_one(cls, text: str) -> Every:
        match = _TEXT.fullmatch(text)
        word = match["word"].lower() if match else ""
        known = _WORDS.get(word) or _WORDS.get(word.removesuffix("s"))
        if match is None or known is None:
            plurals = [w + "s" for w in _WORDS if w != "batch"]
            raise ScheduleError(
                f"{text!r} is not a schedule",
                expected="an amount and a unit, such as '100 steps', '1 epoch' or '10 minutes'",
                received=repr(text),
                remedy=did_you_mean(word, plurals),
            )
        unit, factor = known
        amount = float((match["amount"] or "1").replace("_", "")) * factor
        return cls(**{unit: int(amount) if amount.is_integer() else amount})  # type: ignore[arg-type]

    def __or__(self, other: Schedule) -> AnyOf:
        return AnyOf((self, *(other.parts if isinstance(other, AnyOf) else (other,))))

    @property
    def parts(self) -> tuple[Every, ...]:
        """Itself, as `AnyOf.parts` has several."""
        return (self,)

    def __str__(self) -> str:
        amount, unit = self.amount, self.unit
        name = {"batches": "batch"}.get(unit, unit.removesuffix("s")) if amount == 1 else unit
        extra = [word for word in ("first", "last") if getattr(self, word)]
        return f"{amount:,g} {name}" + (f" (and {' and '.join(extra)})" if extra else "")

    def __repr__(self) -> str:
        flags = "".join(f", {word}=True" for word in ("first", "last") if getattr(self, word))
        return f"Every({self.unit}={self.amount}{flags})"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Due whenever one of its parts is; written `Every(...) | Every(...)`."""

    parts: tuple[Every, ...]

    def __or__(self, other: Schedule) -> AnyOf:
        return AnyOf((*self.parts, *other.parts))

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


Schedule = Every | AnyOf

STEP_UNITS: frozenset[str] = frozenset({"steps", "batches", "samples", "seconds"})
"""Units that are looked at after each step; `epochs` is looked at after each epoch."""


class Due:
    """Where a schedule stands: asked after each step or epoch, it tells whether something is due.

    Args:
        schedule: When; None is never.
        units: Which parts to look at (all by default). Asked after steps with `STEP_UNITS` and
            after epochs with `{"epochs"}`, the two never fire for the same reason.
    """

    def __init__(self, schedule: str | Schedule | None, units: Iterable[str] = _COUNTERS) -> None:
        units = frozenset(units)
        parts = () if schedule is None else Every.parse(schedule).parts
        self._parts = [(_COUNTERS[part.unit], part) for part in parts if part.unit in units]
        self._next: list[float] = [p.amount for _, p in self._parts]
        self._firsts = [p.first for _, p in self._parts]
        self.last = any(part.last for part in parts)
        self._fired_at: int | None = None

    def start(self, progress: Progress) -> None:
        """Forget the past: what `progress` has already crossed is not due again."""
        self._fired_at = None
        for index, (counter, part) in enumerate(self._parts):
            count = getattr(progress, counter)
            self._next[index] = (count // part.amount + 1) * part.amount
            self._firsts[index] = part.first and count == 0
            if count and count % part.amount == 0:  # it fired when this count was reached
                self._fired_at = progress.steps_completed

    def crossed(self, progress: Progress) -> bool:
        """Whether a count was crossed since the last call (or since `start`)."""
        due = False
        for index, (counter, part) in enumerate(self._parts):
            count = getattr(progress, counter)
            if count >= self._next[index]:
                self._next[index] = (count // part.amount + 1) * part.amount
                due = True
            elif self._firsts[index] and count > 0:
                due = True
            if count > 0:
                self._firsts[index] = False
        if due:
            self._fired_at = progress.steps_completed
        return due

    def earliest_step(self, progress: Progress) -> float:
        """The step before which it can't be due: what saves asking after every one."""
        earliest = math.inf
        for index, (counter, _) in enumerate(self._parts):
            exact = counter == "steps_completed" and not self._firsts[index]
            earliest = min(earliest, self._next[index] if exact else progress.steps_completed + 1)
        return earliest

    def at_end(self, progress: Progress) -> bool:
        """Whether `last=True` asks for one more firing now that training ends."""
        return self.last and self._fired_at != progress.steps_completed


def reached(moment: Schedule, progress: Progress) -> bool:
    """Whether `progress` has come as far as `moment`, read as a point and not as a period.

    `"2 epochs"` is reached when two epochs are completed.

    Raises:
        ScheduleError: It counts seconds: a resumed run, or another rank, would decide otherwise.
    """
    if any(part.unit == "seconds" for part in moment.parts):
        raise ScheduleError(
            "a moment can't be counted in seconds",
            expected="steps, batches, epochs or samples",
            received=str(moment),
        )
    return any(getattr(progress, _COUNTERS[p.unit]) >= p.amount for p in moment.parts)


def firings(schedule: str | Schedule, limit: RunLimit) -> int | None:
    """How often `schedule` fires in a run of `limit`; None when that can't be known before."""
    total_steps = limit.total_steps
    counts: dict[str, float | None] = {
        "steps": total_steps,
        "batches": None,
        "epochs": None,
        "samples": None,
        "seconds": None,
    }
    if total_steps is not None and limit.epoch_steps:
        epochs = total_steps / limit.epoch_steps
        counts["epochs"] = math.floor(epochs)
        if limit.epoch_samples is not None:
            counts["samples"] = math.floor(epochs * limit.epoch_samples)
    elif limit.epochs is not None:
        counts["epochs"] = limit.epochs
    total = 0
    for part in Every.parse(schedule).parts:
        count = counts[part.unit]
        if count is None:
            return None
        # Crossed twice within one step, it fires once.
        total += min(int(count // part.amount), total_steps or int(count))
        total += int(part.first and part.amount > 1 and count > 0)
        total += int(part.last and count % part.amount != 0)
    return total
