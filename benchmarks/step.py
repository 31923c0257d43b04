"""What a step costs beyond the raw loop: time as a ratio, Python's work as a count.

MLP 64-128-10, batch 32, in-memory batches, one thread. The variants take turns in one process, so
that noise hits all alike; medians and spread of the ratios are printed. Bytecodes and calls are
counted by tracing the same steps: free of noise.

    python -m benchmarks.step
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import torch

from benchmarks.by_trainer import Idle, Listening, fit
from benchmarks.counting import per_step
from benchmarks.report import Figure, main, quiet, ratios
from benchmarks.task import batches, raw_loop
from trackside import Callback
from trackside.callbacks import Checkpoint
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.member import Member
from trackside.run import Run

STEPS = 300
ROUNDS = 15
FIRINGS, OFTEN = 200, 151
"""Short turns, so that few of them are interrupted, and many of these."""

VARIANTS: dict[str, Callable[[Any], None]] = {
    "bare trainer": fit,
    "with default callbacks": quiet(lambda data: fit(data, defaults=True)),
    "with 10 idle callbacks": lambda data: fit(data, [Idle() for _ in range(10)]),
    "with 10 callbacks at the batch's end": lambda data: fit(
        data, [Listening() for _ in range(10)]
    ),
}
BUDGETS = {"bare trainer": 1.03, "with default callbacks": 1.06}


def nothing() -> None:
    """A CPU has done everything that it was asked for: there is nothing to wait for."""


class Timed:
    """Batches in memory; notes when the first one after a warm-up, and the end, was asked for.

    Before the clock is read, `wait` lets a device come to the end of its work.
    """

    def __init__(self, data: list[Any], warm_up: int, wait: Callable[[], object] = nothing) -> None:
        self._data = data
        self._warm_up = warm_up
        self._wait = wait
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(self._data):
            if index == self._warm_up:
                self._wait()
                started = perf_counter()
            yield batch
        self._wait()
        self.seconds = perf_counter() - started


def time_of(
    loop: Callable[[Any], object],
    data: list[Any],
    *,
    warm_up: float = 0.1,
    wait: Callable[[], object] = nothing,
) -> float:
    """Seconds for the steps after the warm-up, which is that share of all."""
    timed = Timed(data, int(len(data) * warm_up), wait)
    loop(timed)
    return timed.seconds


def measure() -> list[Figure]:
    """All figures of a step."""
    torch.set_num_threads(1)
    data = batches(STEPS)
    figures = ratios(
        {
            f"step, {name}, over a raw loop": partial(time_of, loop, data)
            for name, loop in VARIANTS.items()
        },
        lambda: time_of(raw_loop, data),
        rounds=ROUNDS,
        budgets={f"step, {name}, over a raw loop": budget for name, budget in BUDGETS.items()},
    )
    own = per_step(raw_loop)
    figures += [
        Figure("step, raw loop: bytecodes", own.bytecodes, "bytecodes"),
        Figure("step, raw loop: calls", own.calls, "calls"),
    ]
    for name, loop in VARIANTS.items():
        beyond = per_step(loop).beyond(own)
        budget = 300.0 if name == "bare trainer" else None
        what = f"step, {name}: beyond the raw loop's"
        figures += [
            Figure(what, beyond.bytecodes, "bytecodes", budget),
            Figure(what, beyond.calls, "calls"),
        ]
    return [*figures, *one_more_listener(), *resume_proof(data)]


def resume_proof(data: list[Any]) -> list[Figure]:
    """What the resume proof costs a run that is saved every 50 steps: 3 of these are noted.

    It is on by default, in all other figures as well; without a save it notes nothing.
    """
    what = "steps saved every 50, with the resume proof over without it"

    def saving(when_differs: str | None) -> Callable[[Any], None]:
        saves = {"checkpoint": Checkpoint("50 steps", at_end=False)}
        return lambda data: fit(data, saves, on_resume_differs=when_differs)

    return ratios(
        {what: partial(time_of, saving("warn"), data)},
        partial(time_of, saving(None), data),
        rounds=ROUNDS,
        budgets={what: 1.03},
    )


def one_more_listener() -> list[Figure]:
    """What one more callback at the batch's end costs in a step: its call, its guard, its time.

    The time is that of events fired in a row, with all of it in the caches; its spread is between
    the quartiles.
    """
    more, several = (per_step(partial(fit, callbacks=listening(n))) for n in (11, 10))
    seconds = [fired(11) - fired(1) for _ in range(OFTEN)]
    each = sorted(difference / 10 / FIRINGS * 1e6 for difference in seconds)
    what = "one more callback at the batch's end"
    return [
        Figure(f"{what}: bytecodes", more.beyond(several).bytecodes, "bytecodes", 40.0),
        Figure(what, each[OFTEN // 2], "us", 0.3, spread=(each[OFTEN // 4], each[3 * OFTEN // 4])),
    ]


def listening(count: int) -> list[Listening]:
    """As many callbacks at the batch's end."""
    return [Listening() for _ in range(count)]


def fired(count: int) -> float:
    """Seconds in which an event with so many listeners is fired `FIRINGS` times."""
    events = Dispatcher(Run("fit"))
    members = [Member(str(number), one) for number, one in enumerate(listening(count))]
    events.set_members(members)
    for member in members:
        events.attach(member)
    started = perf_counter()
    for _ in range(FIRINGS):
        events.fire(Callback.on_batch_end, None, None)
    return perf_counter() - started


if __name__ == "__main__":
    main("step", measure)
