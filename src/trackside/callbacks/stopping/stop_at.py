"""`StopAt`."""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import final

from trackside.errors import ConfigurationError
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.schedule import count_of

_COUNTERS = {
    "epoch": "epochs_completed",
    "step": "steps_completed",
    "samples": "samples_completed",
    "tokens": "tokens_completed",
    "seconds": "seconds",
}


@final
class StopAt(Callback):
    """Stops when a count is reached, a moment, or a value; the first of those given.

    Counts are those of the whole training, over all its resumes. For the limit of a job, give
    `date`. A value is looked at whenever it is recorded. With `times_best` the run ends as
    `diverged` (exit code 3), also when the value isn't finite.

    Args:
        monitor: Name of the value for `above`, `below` and `times_best`, such as `val/accuracy`.
        above: Stops when the value is greater than this, in its own unit.
        below: Stops when the value is smaller than this.
        times_best: Stops when the value, a loss, is more than so many times its smallest so far;
            above 1. Nothing is compared with a smallest that isn't positive.
        epoch: Epochs completed.
        step: Steps completed.
        samples: Samples completed, over all ranks; looked at after each step.
        tokens: Tokens completed, over all ranks, as steps return them; looked at after each step,
            and refused after the first if that says none.
        seconds: Wall-clock seconds of training, over all resumes; looked at after each step.
        date: A moment, such as `2026-12-31 18:00`; local time unless it names a zone
            (`2026-12-31T18:00+00:00`).

    Raises:
        ConfigurationError: Nothing given, a count that isn't positive, no date, or a threshold
            without a monitor.
        ScheduleError: `tokens`, and no step says how many it has.

    Example:
        >>> StopAt("val/accuracy", above=0.99)
        StopAt('val/accuracy', above=0.99)
        >>> StopAt(samples=1_000_000, date="2026-12-31 18:00")
        StopAt(samples=1000000, date='2026-12-31 18:00:00')
    """

    effect = "steers"
    runs_in = ("fit",)
    settable = ("epoch", "step", "samples", "tokens", "seconds")

    def __init__(
        self,
        monitor: str | None = None,
        *,
        above: float | None = None,
        below: float | None = None,
        times_best: float | None = None,
        epoch: int | None = None,
        step: int | None = None,
        samples: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        date: str | datetime | None = None,
    ) -> None:
        counts = {"epoch": epoch, "step": step, "samples": samples, "tokens": tokens}
        counts["seconds"] = seconds  # type: ignore[assignment]
        self._counts = {name: count for name, count in counts.items() if count is not None}
        for name, count in self._counts.items():
            if isinstance(count, bool) or not count > 0:
                raise ConfigurationError(
                    f"a run can't stop at {name}={count!r}",
                    expected="a positive number",
                    option=name,
                )
        self.monitor = monitor
        self.monitors = () if monitor is None else (monitor,)
        self._thresholds = _thresholds(monitor, above, below, times_best)
        self._date = None if date is None else _moment(date)
        if not self._counts and self._date is None and not self._thresholds:
            raise ConfigurationError(
                "`StopAt` has no condition",
                expected="epoch=..., step=..., samples=..., tokens=..., seconds=..., date=..., or "
                "a monitor with above=... or below=...",
            )
        self._timestamp = None if self._date is None else self._date.timestamp()
        only_epochs = set(self._counts) == {"epoch"} and self._date is None
        unused = {"on_step_end"} if only_epochs else set()
        if not self._counts and self._date is None:
            unused = {"on_fit_start", "on_step_end", "on_epoch_end"}
        self.unused_hooks = frozenset(unused if self._thresholds else {*unused, "on_log"})

    def __repr__(self) -> str:
        given = [] if self.monitor is None else [repr(self.monitor)]
        given += [f"{name}={bound!r}" for name, bound in self._thresholds.items()]
        given += [f"{name}={count!r}" for name, count in self._counts.items()]
        given += [f"date={str(self._date)!r}"] if self._date else []
        return f"StopAt({', '.join(given)})"

    def on_fit_start(self, run: Run) -> None:
        self._check(run)

    def on_step_end(self, run: Run) -> None:
        self._check(run)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self._check(run)

    def on_log(self, run: Run, record: Record) -> None:
        value = record.values.get(self.monitor or "")
        if value is None or run.stopping:
            return
        bounds = self._thresholds
        if value > bounds.get("above", math.inf):
            run.stop(f"{self.monitor} is {value:.6g}, above {bounds['above']:g}")
        elif value < bounds.get("below", -math.inf):
            run.stop(f"{self.monitor} is {value:.6g}, below {bounds['below']:g}")
        elif "times_best" in bounds:
            self._check_divergence(run, value)

    def _check_divergence(self, run: Run, value: float) -> None:
        times, best = self._thresholds["times_best"], run.history.best(self.monitor or "", "min")
        if not math.isfinite(value):
            run.stop(f"{self.monitor} is {value}", diverged=True)
        elif best is not None and 0 < best.value * times < value:
            words = f"{self.monitor} is {value:.6g}, more than {times:g} times its smallest"
            run.stop(f"{words}, {best.value:.6g} at step {best.record.step}", diverged=True)

    def _check(self, run: Run) -> None:
        if not run.stopping and (reason := self._reached(run)):
            run.stop(reason)

    def _reached(self, run: Run) -> str | None:
        for name, count in self._counts.items():
            if count_of(run.progress, _COUNTERS[name], f"{name}={count!r}") >= count:
                return f"reached {name} {count:,}"
        if self._timestamp is not None and time.time() >= self._timestamp:
            return f"it is {self._date}"
        return None


def _thresholds(monitor: str | None, *bounds: float | None) -> dict[str, float]:
    """The thresholds that are given, by their options. Raises `ConfigurationError`."""
    named = zip(("above", "below", "times_best"), bounds, strict=True)
    given = {name: bound for name, bound in named if bound is not None}
    for name, bound in given.items():
        if monitor is None:
            raise ConfigurationError(
                f"{name}={bound!r} is the threshold of no value",
                expected="the name of a value beside it, such as monitor='val/accuracy'",
                option=name,
            )
        if not math.isfinite(bound) or (name == "times_best" and not bound > 1):
            raise ConfigurationError(
                f"{name}={bound!r} can't be a threshold",
                expected="a number above 1" if name == "times_best" else "a finite number",
                option=name,
            )
    if monitor is not None and not given:
        raise ConfigurationError(
            f"monitor={monitor!r} has no threshold",
            expected="above=..., below=... or times_best=...",
            option="monitor",
        )
    return given


def _moment(date: str | datetime) -> datetime:
    if isinstance(date, datetime):
        return date
    try:
        return datetime.fromisoformat(date)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{date!r} is not a date",
            expected="a datetime, or text: '2026-12-31 18:00', '2026-12-31T18:00+00:00'",
            option="date",
        ) from None
