"""AccumulationSchedule: how many batches make a step, in the course of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, final

from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run


@final
class AccumulationSchedule(Callback):
    """Changes the batches per step: small steps at first, larger and fewer ones later.

    It depends on progress alone: a resumed run goes on where it was. As steps have no fixed share
    of an epoch any more, the total number of steps counts as unknown; limit the run by epochs, or
    by steps, as you like.

    Args:
        batches: Batches per step, 1 or more, by the count from which on they apply; before the
            first of them the trainer's own `accumulate` does.
        unit: What is counted: completed `epochs` or `steps`.

    Raises:
        ConfigurationError: Nothing to do, or a number that isn't a count.

    Example:
        >>> AccumulationSchedule({0: 1, 10: 4, 20: 16})

    Smith et al., "Don't decay the learning rate, increase the batch size", 2018.
    """

    effect = "steers"
    runs_in = ("fit",)

    def __init__(
        self, batches: Mapping[int, int], *, unit: Literal["epochs", "steps"] = "epochs"
    ) -> None:
        if not batches:
            raise ConfigurationError(
                "a schedule of accumulation must have an entry",
                expected="{0: 1, 10: 4}: from epoch 10 on, a step has 4 batches",
                option="batches",
            )
        for done, count in batches.items():
            whole_number(done, "batches")
            whole_number(count, "batches", at_least=1)
        if unit not in ("epochs", "steps"):
            raise ConfigurationError(
                f"unit={unit!r} isn't counted", expected="epochs or steps", option="unit"
            )
        self.batches = dict(sorted(batches.items()))
        self.unit = unit
        self._before_first = 1
        self.unused_hooks = frozenset({"on_step_start" if unit == "epochs" else "on_epoch_start"})

    def on_setup_start(self, run: Run) -> None:
        if run.steps.manual_optimization:
            raise ConfigurationError(
                "a schedule of accumulation has no effect: the trainer optimizes by hand",
                remedy="drop it, or leave the updates to the loop",
                option="batches",
            )
        # Before schedulers are made: they must not count on a number of steps.
        run.limit = replace(run.limit, epoch_steps=None)

    def on_setup_end(self, run: Run) -> None:
        self._before_first = run.accumulate
        self._set(run)

    def on_epoch_start(self, run: Run) -> None:
        self._set(run)

    def on_step_start(self, run: Run) -> None:
        self._set(run)

    def _set(self, run: Run) -> None:
        progress = run.progress
        done = progress.epochs_completed if self.unit == "epochs" else progress.steps_completed
        run.accumulate = self.at(done, self._before_first)

    def at(self, done: int, before_first: int = 1) -> int:
        """Batches of the step that follows `done` epochs or steps."""
        reached = [n for count, n in self.batches.items() if count <= done]
        return reached[-1] if reached else before_first
