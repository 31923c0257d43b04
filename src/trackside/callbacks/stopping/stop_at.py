"""`StopAt`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import final

from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


@final
class StopAt(Callback):
    """Stops when a count is reached, or a moment; the first of those given.

    Counts are those of the whole training, over all its resumes. For the limit of a job, give
    `date`.

    Args:
        epoch: Epochs completed.
        step: Steps completed.
        samples: Samples completed, over all ranks; looked at after each step.
        seconds: Wall-clock seconds of training, over all resumes; looked at after each step.
        date: A moment, such as `2026-12-31 18:00`; local time unless it names a zone
            (`2026-12-31T18:00+00:00`).

    Raises:
        ConfigurationError: Nothing given, a count that isn't positive, or no date.

    Example:
        >>> StopAt(samples=1_000_000, date="2026-12-31 18:00")
        StopAt(samples=1000000, date='2026-12-31 18:00:00')
    """

    effect = "steers"
    settable = ("epoch", "step", "samples", "seconds")

    def __init__(
        self,
        *,
        epoch: int | None = None,
        step: int | None = None,
        samples: int | None = None,
        seconds: float | None = None,
        date: str | datetime | None = None,
    ) -> None:
        counts = {"epoch": epoch, "step": step, "samples": samples, "seconds": seconds}
        self._counts = {name: count for name, count in counts.items() if count is not None}
        for name, count in self._counts.items():
            if isinstance(count, bool) or not count > 0:
                raise ConfigurationError(
                    f"a run can't stop at {name}={count!r}",
                    expected="a positive number",
                    option=name,
                )
        self._date = None if date is None else _moment(date)
        if not self._counts and self._date is None:
            raise ConfigurationError(
                "`StopAt` has no condition",
                expected="epoch=..., step=..., samples=..., seconds=... or date=...",
            )
        self._timestamp = None if self._date is None else self._date.timestamp()
        only_epochs = set(self._counts) == {"epoch"} and self._date is None
        self.unused_hooks = frozenset({"on_step_end"} if only_epochs else ())

    def __repr__(self) -> str:
        given = [f"{name}={count!r}" for name, count in self._counts.items()]
        given += [f"date={str(self._date)!r}"] if self._date else []
        return f"StopAt({', '.join(given)})"

    def on_fit_start(self, run: Run) -> None:
        self._check(run)

    def on_step_end(self, run: Run) -> None:
        self._check(run)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self._check(run)

    def _check(self, run: Run) -> None:
        if not run.stopping and (reason := self._reached(run)):
            run.stop(reason)

    def _reached(self, run: Run) -> str | None:
        progress = run.progress
        done = {
            "epoch": progress.epochs_completed,
            "step": progress.steps_completed,
            "samples": progress.samples_completed,
            "seconds": progress.seconds,
        }
        for name, count in self._counts.items():
            if done[name] >= count:
                return f"reached {name} {count:,}"
        if self._timestamp is not None and time.time() >= self._timestamp:
            return f"it is {self._date}"
        return None


def _moment(date: str | datetime) -> datetime:
    if isinstance(date, datetime):
        return date
    try:
        return datetime.fromisoformat(date)
    except ValueError:
        raise ConfigurationError(
            f"{date!r} is not a date",
            expected="a moment such as '2026-12-31 18:00' or '2026-12-31T18:00+00:00'",
            option="date",
        ) from None
