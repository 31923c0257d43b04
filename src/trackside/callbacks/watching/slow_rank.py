"""`SlowRank`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Literal, final

from trackside.errors import ConfigurationError, ScheduleError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.run import Rollback, Run
from trackside.schedule import Every, Schedule

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("trackside")


@final
class SlowRank(PeriodicCallback):
    """Finds the rank that the others wait for.

    Ranks that share gradients take equally long for a step, because all wait for the slowest. So
    each rank adds up what comes before the sharing: its wait for data, and its forward pass by the
    host's clock. Every so often these times are compared. `ranks/slowest_seconds` and
    `ranks/median_seconds` (per step), `ranks/slowdown` (their ratio) and `ranks/slowest` (its
    number) are recorded; a rank that is too slow is named in a warning, with its machine.

    Args:
        every: How often ranks are compared; counts steps, batches, samples or epochs, so that all
            ranks do it at the same step.
        warn_above: Slowdown from which a rank is named.

    Raises:
        ScheduleError: `every` counts seconds.
        ConfigurationError: `warn_above` is below 1.

    Example:
        >>> SlowRank(every="500 steps", warn_above=1.5)
        SlowRank('500 steps', warn_above=1.5)
    """

    effect = "observes"
    looks_into_backward: Literal["always", "on several ranks"] = "on several ranks"
    on_error = "warn"
    calls_collectives = True
    settable = ("warn_above",)

    logs = ("ranks/*",)

    def __init__(self, every: str | Schedule = "200 steps", *, warn_above: float = 1.3) -> None:
        schedule = Every.parse(every, option="every")
        super().__init__(schedule)
        if "seconds" in schedule.units:
            raise ScheduleError(
                "ranks can't be compared by the clock: it isn't the same on all of them",
                expected="a schedule such as '200 steps'",
                received=str(schedule),
                option="every",
            )
        if not warn_above >= 1:
            raise ConfigurationError(
                f"warn_above={warn_above!r} would name ranks that are not slow",
                expected="1 or more: 1.3 is 30 % slower than the median",
                option="warn_above",
            )
        self.warn_above = warn_above
        self._step_began = 0.0
        self._forward_seconds = 0.0
        self._waited_before = 0.0
        self._steps_before = 0

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._mark(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        super().on_roll_back(run, rollback)
        self._mark(run)

    def on_step_start(self, run: Run) -> None:
        self._step_began = perf_counter()

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        self._forward_seconds += perf_counter() - self._step_began

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        self._step_began = perf_counter()  # the next batch of the same step, if there is one

    def on_due(self, run: Run) -> None:
        steps = run.progress.steps_completed - self._steps_before
        if steps == 0:
            return
        own = self._forward_seconds + run.data_wait_seconds - self._waited_before
        seconds = run.world.gather(own / steps)
        slowest, slowdown = compare(seconds)
        run.log("ranks/slowest_seconds", seconds[slowest], weight=1)
        run.log("ranks/median_seconds", median(seconds), weight=1)
        run.log("ranks/slowest", slowest, weight=1)
        run.log("ranks/slowdown", slowdown, weight=1)
        if slowdown > self.warn_above:  # all ranks have the same figures: all of them report
            machines = run.world.gather(socket.gethostname())
        if slowdown > self.warn_above and run.world.is_global_zero:
            logger.warning(
                "rank %d on %s is slow: %.2f times the median before gradients are shared "
                "(%.4f s per step)",
                slowest,
                machines[slowest],
                slowdown,
                seconds[slowest],
            )
        self._mark(run)

    def _mark(self, run: Run) -> None:
        self._forward_seconds = 0.0
        self._waited_before = run.data_wait_seconds
        self._steps_before = run.progress.steps_completed


def compare(seconds: Sequence[float]) -> tuple[int, float]:
    """The slowest rank, and how many times the median it takes."""
    slowest = max(range(len(seconds)), key=seconds.__getitem__)
    middle = median(seconds)
    return slowest, seconds[slowest] / middle if middle > 0 else 1.0
