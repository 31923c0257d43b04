"""Schedules as values: `Every`, and several joined by `|` and `&`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from trackside.errors import ScheduleError, about
from trackside.schedule.text import read

Unit = Literal["steps", "batches", "epochs", "samples", "seconds", "tokens", "percent", "per_epoch"]
_UNITS: tuple[Unit, ...] = (
    "steps",
    "batches",
    "epochs",
    "samples",
    "seconds",
    "tokens",
    "percent",
    "per_epoch",
)
_NUMBERS = ("seconds", "percent")
"""Units whose amounts needn't be whole."""


@dataclass(frozen=True, slots=True)
class Every:
    """Due each time a count grows by an amount, or at given points. Exactly one unit.

    Args:
        steps: Optimizer updates.
        batches: Micro-batches, looked at after each step.
        epochs: Whole passes over the training data.
        samples: Items of training data, over all ranks.
        seconds: Wall-clock seconds of training; decided on rank 0.
        first: Also due after the very first step (or epoch, when counting epochs).
        last: Also due once when training ends, unless it was due at that point anyway.
        tokens: Tokens of training data, over all ranks, as steps say them:
            `Output(loss, ..., tokens=n)`.
        percent: Share of the run in percent, counted in steps; above 0, up to 100. Refused where
            the length of the run isn't known, and so is `per_epoch`.
        per_epoch: How often in each epoch, at even distances, the end of the epoch included;
            looked at after each step.
        at: Points at which it is due, each once: text such as `"100 steps"` and `"25 %"`.
        after: A moment, such as `"1 epoch"`, before which it isn't due: a warm-up. Multiples are
            counted from the beginning of the run all the same; `first` and `last` don't wait.

    Raises:
        ScheduleError: No unit, two units, or an amount that isn't positive.

    Example:
        >>> Every(steps=100)
        Every(steps=100)
        >>> Every.parse("10 minutes")
        Every(seconds=600)
        >>> Every.parse("1_000_000 tokens after 10 %")
        Every(tokens=1000000, after='10 %')
        >>> Every.parse("at 100, 1000 steps")
        Every(at=('100 steps', '1,000 steps'))
    """

    steps: int | None = None
    batches: int | None = None
    epochs: int | None = None
    samples: int | None = None
    seconds: float | None = None
    first: bool = False
    last: bool = False
    tokens: int | None = field(default=None, kw_only=True)
    percent: float | None = field(default=None, kw_only=True)
    per_epoch: int | None = field(default=None, kw_only=True)
    at: Sequence[str | Every] | None = field(default=None, kw_only=True)
    after: str | Every | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        given = {unit: getattr(self, unit) for unit in (*_UNITS, "at")}
        given = {unit: amount for unit, amount in given.items() if amount is not None}
        if len(given) != 1:
            raise ScheduleError(
                "a schedule has exactly one unit",
                expected="one of " + ", ".join((*_UNITS, "at")),
                received=", ".join(f"{u}={a}" for u, a in given.items()) or "none",
                remedy="for several, join them: Every(steps=100) | Every(seconds=600)",
            )
        ((unit, amount),) = given.items()
        if unit == "at":
            object.__setattr__(self, "at", _points(amount))
        else:
            _check_amount(unit, amount)
        if self.after is not None:
            object.__setattr__(self, "after", _moment(self.after, "after"))

    @property
    def unit(self) -> Unit:
        """The unit it counts in; that of the first, where there are several points."""
        if self.at is not None:
            return self.points[0].unit
        return next(unit for unit in _UNITS if getattr(self, unit) is not None)

    @property
    def amount(self) -> float:
        """How many units lie between two firings; the point, where it has one."""
        amount: float = self.points[0].amount if self.at is not None else getattr(self, self.unit)
        return amount

    @property
    def points(self) -> tuple[Every, ...]:
        """The points at which it is due; none for a period."""
        return tuple(one for one in self.at or () if isinstance(one, Every))

    @property
    def moments(self) -> tuple[Every, ...]:
        """The moment before which it isn't due, if there is one."""
        return (self.after,) if isinstance(self.after, Every) else ()

    @property
    def units(self) -> frozenset[Unit]:
        """The units that it counts in."""
        return frozenset(one.unit for one in self.points) or frozenset({self.unit})

    @property
    def parts(self) -> tuple[Every, ...]:
        """Itself, as `AnyOf.parts` has several; a part for each point."""
        if len(self.points) > 1:
            return tuple(replace(self, at=(point,)) for point in self.points)
        return (self,)

    @property
    def is_looked_at(self) -> Literal["steps", "epochs"]:
        """Whether it is looked at after steps or after epochs; of one part."""
        return "epochs" if self.unit == "epochs" else "steps"

    @classmethod
    def parse(cls, schedule: str | Schedule, option: str | None = None) -> Schedule:
        """A schedule from text.

        Such as `"100 steps"`, `"epoch"`, `"50_000 samples or 10 minutes"`, `"25 %"`,
        `"4 per epoch"`, `"at 10, 100 steps"`, `"100 steps after 1 epoch"`,
        `"1 epoch and 30 minutes"`, `"100 steps or first or last"`.

        A schedule comes back as it is. Raises `ScheduleError`, about `option`, for a unit that
        doesn't exist.
        """
        if isinstance(schedule, (Every, AnyOf, AllOf)):
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
        written = read(schedule)
        options = [[{**one, **written.flags} for one in periods] for periods in written.parts]
        made = [[cls(**one) for one in periods] for periods in options]
        found = [all_[0] if len(all_) == 1 else AllOf(tuple(all_)) for all_ in made]
        if len(found) == 1:
            return found[0]
        return AnyOf(tuple(part for one in found for part in one.parts))

    def __or__(self, other: Schedule) -> AnyOf:
        return AnyOf((*self.parts, *other.parts))

    def __and__(self, other: Schedule) -> AllOf:
        return AllOf((self,)) & other

    def __str__(self) -> str:
        return self._period() + _flags(self.first, self.last)

    def _period(self) -> str:
        unit = self.unit
        after = f" after {self.after}" if self.after is not None else ""
        if self.at is not None:
            return "at " + ", ".join(str(one).replace(",", "") for one in self.points) + after
        amount = f"{self.amount:,}"
        if unit == "per_epoch":
            return f"{amount} per epoch{after}"
        name = {"batches": "batch"}.get(unit, unit.removesuffix("s")) if self.amount == 1 else unit
        return f"{amount} {'%' if unit == 'percent' else name}{after}"

    def __repr__(self) -> str:
        flags = "".join(f", {word}=True" for word in ("first", "last") if getattr(self, word))
        after = f", after={str(self.after)!r}" if self.after is not None else ""
        if self.at is not None:
            return f"Every(at={tuple(str(one) for one in self.points)!r}{after}{flags})"
        return f"Every({self.unit}={self.amount}{after}{flags})"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Due for the n-th time when all of its periods have come n times: `Every(...) & Every(...)`.

    So it is due as often as the one that comes seldom. With epochs among them it is looked at
    after epochs, else after steps: `"1 epoch and 30 minutes"` is due at ends of epochs.

    Args:
        of: The periods.

    Raises:
        ScheduleError: There are points among them, which have no n-th time.
    """

    of: tuple[Every, ...]

    def __post_init__(self) -> None:
        if any(one.at is not None for one in self.of):
            raise ScheduleError(
                "points can't be joined by `and`",
                expected="periods, such as '1 epoch and 30 minutes'",
                received=str(self),
                remedy="several points stand between commas: 'at 10 %, 50 %'",
            )

    @property
    def units(self) -> frozenset[Unit]:
        """The units that it counts in."""
        return frozenset(one.unit for one in self.of)

    @property
    def parts(self) -> tuple[AllOf, ...]:
        """Itself, as `AnyOf.parts` has several."""
        return (self,)

    @property
    def is_looked_at(self) -> Literal["steps", "epochs"]:
        """Whether it is looked at after steps or after epochs."""
        return "epochs" if "epochs" in self.units else "steps"

    @property
    def first(self) -> bool:
        """Whether it is also due after the very first step (or epoch)."""
        return any(one.first for one in self.of)

    @property
    def last(self) -> bool:
        """Whether it is also due when training ends."""
        return any(one.last for one in self.of)

    def __or__(self, other: Schedule) -> AnyOf:
        return AnyOf((self, *other.parts))

    def __and__(self, other: Schedule) -> AllOf:
        if isinstance(other, AnyOf):
            raise ScheduleError(
                "alternatives can't be joined by `&`",
                expected="periods, such as Every(epochs=1) & Every(seconds=1800)",
                received=str(other),
                remedy="join each of them: (a & b) | (a & c)",
            )
        return AllOf((*self.of, *(other.of if isinstance(other, AllOf) else (other,))))

    def __str__(self) -> str:
        periods = (str(replace(one, first=False, last=False)) for one in self.of)
        return " and ".join(periods) + _flags(self.first, self.last)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Due whenever one of its parts is; written `Every(...) | Every(...)`."""

    parts: tuple[Every | AllOf, ...]

    @property
    def units(self) -> frozenset[Unit]:
        """The units that it counts in."""
        return frozenset(unit for part in self.parts for unit in part.units)

    def __or__(self, other: Schedule) -> AnyOf:
        return AnyOf((*self.parts, *other.parts))

    def __and__(self, other: Schedule) -> AllOf:
        return AllOf(()) & self

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


Schedule = Every | AnyOf | AllOf


def is_plain(schedule: Schedule) -> bool:
    """Whether it is one count, such as `"100 steps"`: no points, no warm-up, nothing joined."""
    return isinstance(schedule, Every) and schedule.at is None and schedule.after is None


def _flags(first: bool, last: bool) -> str:
    said = [word for word, is_so in (("first", first), ("last", last)) if is_so]
    return f" (and {' and '.join(said)})" if said else ""


def _check_amount(unit: str, amount: object) -> None:
    is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    whole = isinstance(amount, int) or unit in _NUMBERS
    most = 100 if unit == "percent" else math.inf
    if not is_number or not whole or not 0 < amount <= most or math.isinf(amount):  # type: ignore[operator, arg-type]
        expected = "a positive number" if unit in _NUMBERS else "a positive whole number"
        raise ScheduleError(
            f"a schedule can't be every {amount!r} {unit}",
            expected="above 0, up to 100" if unit == "percent" else expected,
            received=repr(amount),
            remedy="for parts of an epoch: '4 per epoch'"
            if unit == "epochs" and is_number and 0 < amount < 1  # type: ignore[operator]
            else None,
        )


def _points(given: object) -> tuple[Every, ...]:
    if isinstance(given, (str, Every)) or not isinstance(given, Sequence) or not given:
        raise ScheduleError(
            f"at={given!r} are no points",
            expected="a list of moments, such as at=['100 steps', '25 %']",
            option="at",
        )
    return tuple(_moment(one, "at") for one in given)


def _moment(given: str | Every, option: str) -> Every:
    """The one count that `given` names. Raises `ScheduleError`."""
    found = Every.parse(given, option=option)
    plain = isinstance(found, Every) and found == Every(**{found.unit: found.amount})  # type: ignore[arg-type]
    unfit = {"per_epoch", "seconds"} if option == "after" else {"per_epoch"}
    if isinstance(found, Every) and plain and found.unit not in unfit:
        return found
    raise ScheduleError(
        f"{str(found)!r} isn't a moment",
        expected="a count that is reached once, such as '100 steps', '1 epoch' or '25 %'",
        option=option,
    )
