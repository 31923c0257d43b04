"""ParameterSchedule: any setting as a function of how far training has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from torch import Tensor

from trackside.callbacks.scheduling.curves import Curve, Shape
from trackside.errors import ConfigurationError, ScheduleError, about
from trackside.lifecycle.hooks import Callback
from trackside.models.attribute_paths import Attribute, places
from trackside.run import Rollback, Run
from trackside.schedule import Every, Schedule, count_of, is_plain

_COUNTERS = {
    "steps": "steps_completed",
    "batches": "batches_completed",
    "samples": "samples_completed",
    "epochs": "epochs_completed",
    "tokens": "tokens_completed",
}


@final
class ParameterSchedule(Callback):
    """Moves a number in the model, the loss or an optimizer along a curve.

    The value depends on progress alone: a resumed run goes on where it was. It is recorded as
    `schedule/<parameter>`. Lengths and points are written as `"1000 steps"`, `"5 epochs"` or
    `"50_000 samples"`, all in the same unit; epochs count when they are completed.

    A whole number in the model or the loss (a number of heads) is kept whole, rounded, where the
    numbers of the curve are written as whole ones; any other curve makes it a decimal number.

    | shape | value |
    |---|---|
    | `constant` | `start` |
    | `linear`, `log_linear`, `cosine` | from `start` to `end`, on the way from `begin` on |
    | `step` | `start`, times `factor` after each `period` from `begin` on |
    | `multi_step` | `start`, times `factor` at each of the `milestones` |

    Args:
        parameter: What to set: `model.head.dropout.p`, `loss.label_smoothing`,
            `optimizer.weight_decay` (in all groups), `optimizer.0.momentum`,
            `optimizers.generator.lr`.
        shape: Of the curve.
        start: The value up to `begin`.
        end: The value at the end of the way.
        begin: Where the curve begins; None is the start of training. Not for `constant` and
            `multi_step`.
        length: How long the way is; None takes what is left of the run.
        period: How far apart the steps are.
        factor: What a step multiplies the value with.
        milestones: Where the steps are.

    Raises:
        ConfigurationError: Options that don't fit the shape; found when training starts: there is
            no such parameter, it isn't a number, or the run's length isn't known.
        ScheduleError: Several units, or seconds.

    Example:
        >>> ParameterSchedule("loss.label_smoothing", "linear", 0.2, 0.0, length="10 epochs")
    """

    effect = "steers"

    def __init__(
        self,
        parameter: str,
        shape: Shape,
        start: float,
        end: float | None = None,
        *,
        begin: Schedule | str | None = None,
        length: Schedule | str | None = None,
        period: Schedule | str | None = None,
        factor: float | None = None,
        milestones: Sequence[Schedule | str] = (),
    ) -> None:
        points = {
            "begin": [begin],
            "length": [length],
            "period": [period],
            "milestones": milestones,
        }
        self.unit = _unit(
            {
                option: [Every.parse(point, option) for point in given if point is not None]
                for option, given in points.items()
            }
        )
        self.parameter = parameter
        self.logs = (f"schedule/{parameter}",)
        self._open_ended = length is None and shape in ("linear", "log_linear", "cosine")
        self.curve = Curve(
            shape,
            start,
            end,
            0.0 if begin is None else _amount(begin),
            1.0 if self._open_ended else None if length is None else _amount(length),
            None if period is None else _amount(period),
            factor,
            tuple(_amount(milestone) for milestone in milestones),
        )
        self.value = start
        """The value now, as it was set."""
        numbers = [number for number in (start, end, factor) if number is not None]
        # torch's defaults are often whole (`weight_decay=0`), and mean a share or a rate.
        self._is_whole = all(isinstance(number, int) for number in numbers)
        self._is_whole &= not parameter.startswith(("optimizer.", "optimizers."))
        self._curve = self.curve
        self._places: list[Attribute] = []
        idle = "on_step_end" if self.unit == "epochs" else "on_epoch_start"
        self.unused_hooks = frozenset({idle})

    def on_fit_start(self, run: Run) -> None:
        with about(option="parameter"):
            self._places = places(run, self.parameter)
        for place in self._places:
            _check_number(self.parameter, place.get())
        self._curve = self._until_the_end(run) if self._open_ended else self.curve
        self._set(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._places = places(run, self.parameter)  # an optimizer that was loaded has other groups
        self._set(run)

    def on_step_end(self, run: Run) -> None:
        self._set(run)

    def on_epoch_start(self, run: Run) -> None:
        self._set(run)

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values[f"schedule/{self.parameter}"] = self.value

    def _set(self, run: Run) -> None:
        position = count_of(run.progress, _COUNTERS[self.unit], f"a curve in {self.unit}")
        value = self._curve.at(position)
        for place in self._places:
            whole = self._is_whole and isinstance(place.get(), int)
            self.value = round(value) if whole else value
            place.put(self.value)

    def _until_the_end(self, run: Run) -> Curve:
        limit, curve = run.limit, self.curve
        total = {
            "steps": limit.total_steps,
            "epochs": limit.epochs,
            "samples": limit.epochs and limit.epoch_samples and limit.epochs * limit.epoch_samples,
        }.get(self.unit)
        if not total or total <= curve.begin:
            raise ConfigurationError(
                f"how long the way of {self.parameter!r} is isn't known from the run",
                received=f"a run of {total if total else 'unknown many'} {self.unit}, "
                f"and begin={curve.begin:g}",
                remedy="say it: `length='1000 steps'`",
                option="length",
            )
        length = total - curve.begin
        return Curve(curve.shape, curve.start, curve.end, curve.begin, length)


def _unit(points: Mapping[str, Sequence[Schedule]]) -> str:
    """The one unit of all points, which are given by their options."""
    units: set[str] = set()
    for option, given in points.items():
        units |= {unit for point in given for unit in point.units}
        if len(units) > 1 or not units <= _COUNTERS.keys() or not all(map(is_plain, given)):
            raise ScheduleError(
                "a curve counts in one unit",
                expected="steps, epochs, samples, tokens or batches",
                received=", ".join(str(point) for some in points.values() for point in some),
                option=option,
            )
    return units.pop() if units else "steps"


def _amount(point: Schedule | str) -> float:
    moment = Every.parse(point)
    assert isinstance(moment, Every), "`_unit` has refused the others"
    return float(moment.amount)


def _check_number(parameter: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number and not (isinstance(value, Tensor) and value.numel() == 1):
        raise ConfigurationError(
            f"{parameter!r} can't be moved along a curve",
            expected="a number, or a tensor with one element",
            received=type(value).__name__,
            option="parameter",
        )
