"""Schedules as people write them: `"100 steps or 1 epoch"`, taken apart into options of `Every`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from trackside.errors import ScheduleError, did_you_mean

_WORDS: dict[str, tuple[str, int]] = {
    "step": ("steps", 1),
    "update": ("steps", 1),
    "batch": ("batches", 1),
    "batche": ("batches", 1),
    "epoch": ("epochs", 1),
    "sample": ("samples", 1),
    "token": ("tokens", 1),
    "percent": ("percent", 1),
    "%": ("percent", 1),
    "second": ("seconds", 1),
    "minute": ("seconds", 60),
    "hour": ("seconds", 3600),
    "day": ("seconds", 86400),
}
_NUMBER = r"\d[\d_]*(?:,\d{3})*(?:\.\d+)?"
_PERIOD = re.compile(
    rf"\s*(?:every\s+)?(?P<amount>{_NUMBER})?\s*(?P<word>[a-zA-Z]+|%)(?:\s+of\s+the\s+run)?\s*"
)
_PER_EPOCH = re.compile(rf"\s*(?P<amount>{_NUMBER})\s*(?:times\s+)?(?:per|an)\s+epoch\s*")
_AFTER = re.compile(r"(?P<period>.+?)\s+after\s+(?P<moment>.+)")
_AT = re.compile(r"\s*at\s+(?P<moments>.+)")
_FLAGS = ("first", "last")


@dataclass(slots=True)
class Written:
    """A schedule in words, taken apart."""

    parts: list[list[dict[str, Any]]] = field(default_factory=list)
    """One of them is due: of each, all of its periods, by the options of `Every`."""
    flags: dict[str, bool] = field(default_factory=dict)
    """`first` and `last`, where they were said."""


def read(text: str) -> Written:
    """The schedule that `text` names. Raises `ScheduleError` for anything else."""
    found = Written()
    for alternative in re.split(r"\s+or\s+|\|", _without_brackets(text)):
        periods = []
        for each in re.split(r"\s+and\s+|&", alternative):
            if each.strip() in _FLAGS:
                found.flags[each.strip()] = True
            else:
                periods.append(_period(each))
        if periods:
            found.parts.append(periods)
    if not found.parts:
        raise ScheduleError(
            f"{text!r} says nothing but {' and '.join(found.flags)}",
            expected="a period beside it, such as '100 steps or last'",
            received=repr(text),
            remedy="for the first step alone: 'at 1 step'",
        )
    return found


def _without_brackets(text: str) -> str:
    return re.sub(r"\((and (?:first|last)(?: and last)?)\)\s*$", r"\1", text)


def _period(text: str) -> dict[str, Any]:
    """The options of one period, such as `100 steps after 1 epoch` or `at 10 steps, 25 %`."""
    if (later := _AFTER.fullmatch(text)) is not None:
        return {**_period(later["period"]), "after": later["moment"]}
    if (points := _AT.fullmatch(text)) is not None:
        return {"at": _moments(points["moments"])}
    if (times := _PER_EPOCH.fullmatch(text)) is not None:
        return {"per_epoch": _number(times["amount"])}
    return _amount(text)


def _moments(text: str) -> tuple[str, ...]:
    """Moments between commas; one without a unit has that of the next."""
    given = [one.strip() for one in text.split(",")]
    unit = ""
    for place in reversed(range(len(given))):
        if re.fullmatch(_NUMBER, given[place]):
            given[place] = f"{given[place]} {unit}"
        elif (match := _PERIOD.fullmatch(given[place])) is not None:
            unit = match["word"]
    return tuple(given)


def _amount(text: str) -> dict[str, Any]:
    match = _PERIOD.fullmatch(text)
    word = match["word"].lower() if match else ""
    known = _WORDS.get(word) or _WORDS.get(word.removesuffix("s"))
    if match is None or known is None:
        plurals = [w + "s" for w in _WORDS if w not in ("batch", "%", "percent")]
        raise ScheduleError(
            f"{text!r} is not a schedule",
            expected="an amount and a unit, such as '100 steps', '1 epoch' or '10 minutes'; "
            "'25 %', '4 per epoch', 'at 10 %, 50 %'",
            received=repr(text),
            remedy=did_you_mean(word, plurals),
        )
    unit, factor = known
    return {unit: _number(match["amount"] or "1", factor)}


def _number(text: str, factor: int = 1) -> int | float:
    amount = float(text.replace("_", "").replace(",", "")) * factor
    return int(amount) if amount.is_integer() else amount
