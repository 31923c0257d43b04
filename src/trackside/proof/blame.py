"""`trackside.blame`: the samples of a step by how far they stand out, and the step without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.proof.made_again import MadeAgain, made_again, way_to
from trackside.proof.made_again import Way as WayBack
from trackside.proof.retrace import retrace
from trackside.proof.weighing import Way, WeighedSample, Weigher, ranked
from trackside.run import Run
from trackside.step.output import as_output
from trackside.trainer.program import Program

AFTER = 3
"""Steps after the one in question whose losses are compared."""


@dataclass(frozen=True, slots=True)
class Blame:
    """The samples of a step, and what training without the first of them changes."""

    way: WayBack
    samples: tuple[WeighedSample, ...]
    """The one that stands out most first."""
    weighed: Way
    """How the loss of a sample was found."""
    losses: dict[int, float] = field(default_factory=dict)
    """Loss of the step and of those after it, as the run took them."""
    losses_without: dict[int, float] = field(default_factory=dict)
    """The same, trained without the first sample."""

    @property
    def first(self) -> WeighedSample:
        """The sample that was left out."""
        return self.samples[0]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "step": self.way.step,
            "weighed": self.weighed,
            "samples": [one.as_dict() for one in self.samples],
            "losses": self.losses,
            "losses_without": self.losses_without,
        }


def blame(
    run: str | os.PathLike[str],
    step: int,
    *,
    overrides: Iterable[str] = (),
    without: Iterable[str] = (),
    program: Callable[[], Program] | None = None,
) -> Blame:
    """Rank the samples of a step by how far they stand out; train it again without the first.

    The step is made again twice, from the checkpoint before it, without writing anything: once as
    it was, once without the sample. The losses of both, of that step and three more, are the proof.

    Args:
        run: The run's folder.
        step: The step, from 1: that of a spike in the loss, or of a NaN.
        overrides: `key=value`, for what the run was given later: `trainer.epochs=40`.
        without: Names of further callbacks that take no part.
        program: Makes the trainer and its data, for a run that can't be made again by its folder.
            It is called twice.

    Raises:
        UsageError: The run can't be made again, has no such step, or optimizes by hand.

    Example:
        >>> found = trackside.blame("runs/digits", 1200)  # doctest: +SKIP
        >>> found.first.index, found.losses[1200], found.losses_without[1200]  # doctest: +SKIP
        (417, 3.81, 0.12)
    """

    def again() -> MadeAgain:
        return made_again(run, overrides, None if program is None else program())

    made = again()
    return blame_along(made, way_to(made, step), again, without=without)


def blame_along(
    made: MadeAgain, way: WayBack, again: Callable[[], MadeAgain], *, without: Iterable[str] = ()
) -> Blame:
    """As `blame`, along a way that is known already; `again` makes the run a second time."""
    train = partial(retrace, way=way, further=AFTER, without=tuple(without))
    weigher, losses, others = Weigher(), Losses(way.step), Losses(way.step)
    done = train(made, joining=[weigher], along=[losses])
    samples = ranked(weigher.samples)
    if not samples:
        raise UsageError(
            f"step {way.step} ends with an error before its loss is known: {done.error}",
            remedy="`trackside replay` shows its batch",
        )
    train(again(), along=[others], leave_out=[samples[0].batch])
    return Blame(way, tuple(samples), weigher.way, losses.found, others.found)


class Losses(Callback[Run]):
    """Keeps the loss of each step from one on.

    Args:
        start: The first step.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.found: dict[int, float] = {}
        self._batches: list[float] = []

    def on_step_start(self, run: Run) -> None:
        """Forget the step before."""
        self._batches.clear()

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Take the loss of a batch into the mean of the step."""
        step = run.progress.steps_completed + 1
        if step >= self.start:
            self._batches.append(float(as_output(output).loss.detach()))
            self.found[step] = sum(self._batches) / len(self._batches)
