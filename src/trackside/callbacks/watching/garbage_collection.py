"""`GarbageCollection`."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Literal, final

from trackside.errors import ScheduleError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.machine.accelerator import empty_cache
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.schedule import Every, Schedule


@final
class GarbageCollection(PeriodicCallback):
    """Collects garbage at set steps, and not whenever Python thinks of it.

    With several ranks, automatic collections come at other steps on each, and all wait for the one
    that is collecting. Here it is the same step on all. What is alive at the start is set apart, so
    that no collection looks at it again. At the end Python's own setting is as before.
    `gc/seconds` is recorded: how long a collection took.

    Args:
        every: When; counts steps, batches, samples or epochs.
        generation: Oldest generation that is collected, 0 to 2: 1 is quick, 2 is thorough.
        device_cache: Whether memory that torch keeps back for later is given back to the device as
            well, for other processes on it; the next steps ask for it again. A CPU has none.

    Raises:
        ScheduleError: `every` counts seconds.

    Example:
        >>> GarbageCollection(every="500 steps")
        GarbageCollection('500 steps')
    """

    effect = "observes"
    on_error = "warn"
    logs = ("gc/seconds",)

    def __init__(
        self,
        every: str | Schedule = "1000 steps",
        *,
        generation: Literal[0, 1, 2] = 1,
        device_cache: bool = False,
    ) -> None:
        schedule = Every.parse(every, option="every")
        super().__init__(schedule)
        if "seconds" in schedule.units:
            raise ScheduleError(
                "garbage can't be collected by the clock: it isn't the same on all ranks",
                expected="a schedule such as '1000 steps'",
                received=str(schedule),
                option="every",
            )
        self.generation, self.device_cache = generation, device_cache
        self._was_automatic: bool | None = None

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._was_automatic = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()

    def on_due(self, run: Run) -> None:
        began = perf_counter()
        gc.collect(self.generation)
        if self.device_cache:
            empty_cache(run.device)
        run.log("gc/seconds", perf_counter() - began, weight=1)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self._was_automatic is None:
            return
        gc.unfreeze()
        if self._was_automatic:
            gc.enable()
        self._was_automatic = None
