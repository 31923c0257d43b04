"""Curves: values as functions of how far training has come. Nothing here knows a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from trackside.errors import ConfigurationError, did_you_mean

Shape = Literal["constant", "linear", "log_linear", "cosine", "step", "multi_step"]
SHAPES: tuple[str, ...] = get_args(Shape)
_TOWARDS_END = ("linear", "log_linear", "cosine")


@dataclass(frozen=True, slots=True)
class Curve:
    """A value for each position, counted in whatever unit `begin` and the rest are.

    Raises:
        ConfigurationError: An option that the shape needs is missing, or one that it doesn't know
            is given.
    """

    shape: Shape
    start: float
    """The value up to `begin`."""
    end: float | None = None
    """linear, log_linear, cosine: the value from `begin + length` on."""
    begin: float = 0.0
    """linear, log_linear, cosine, step: where it leaves `start`."""
    length: float | None = None
    """linear, log_linear, cosine: the way from `start` to `end`, above 0."""
    period: float | None = None
    """step: how far apart the steps are, above 0."""
    factor: float | None = None
    """step, multi_step: what each of them multiplies the value with."""
    milestones: Sequence[float] = field(default=())
    """multi_step: where the steps are."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigurationError(
                f"there is no curve of the shape {self.shape!r}",
                remedy=did_you_mean(str(self.shape), SHAPES),
                option="shape",
            )
        needs = {
            "end": self.shape in _TOWARDS_END,
            "length": self.shape in _TOWARDS_END,
            "period": self.shape == "step",
            "factor": self.shape in ("step", "multi_step"),
            "milestones": self.shape == "multi_step",
        }
        given = {name for name in needs if getattr(self, name) not in (None, ())}
        wanted = {name for name, needed in needs.items() if needed}
        if given != wanted:
            raise ConfigurationError(
                f"a curve of the shape {self.shape!r} has other options",
                expected=", ".join(["start", *(n for n in needs if n in wanted)]),
                received=", ".join(["start", *(n for n in needs if n in given)]),
                option="shape",
            )
        if self.begin and self.shape in ("constant", "multi_step"):
            raise ConfigurationError(
                f"a curve of the shape {self.shape!r} begins nowhere",
                expected="no `begin`",
                remedy="leave `begin` out; steps stand where `milestones` say, counted from the "
                "start of training",
                option="begin",
            )
        if self.shape == "log_linear" and not self.start * (self.end or 0.0) > 0:
            raise ConfigurationError(
                "a log-linear curve doesn't reach or cross 0",
                expected="`start` and `end` of the same sign",
                received=f"start={self.start}, end={self.end}",
                option="end",
            )
        for name in ("length", "period"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name}={value} of a curve isn't above 0", option=name)

    def at(self, position: float) -> float:
        """The value at `position`; the same for the same position, whatever came before."""
        done = max(position - self.begin, 0.0)
        if self.shape == "constant":
            return self.start
        if self.shape == "step":
            return float(self.start * _required(self.factor) ** (done // _required(self.period)))
        if self.shape == "multi_step":
            passed = sum(milestone <= position for milestone in self.milestones)
            return float(self.start * _required(self.factor) ** passed)
        return self._on_the_way(min(done / _required(self.length), 1.0))

    def _on_the_way(self, share: float) -> float:
        end = _required(self.end)
        if share in (0.0, 1.0):  # exactly what was asked for
            return end if share else self.start
        if self.shape == "log_linear":
            return float(self.start * (end / self.start) ** share)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (end - self.start) * share


def _required(value: float | None) -> float:
    assert value is not None, "checked when the curve was made"
    return value
