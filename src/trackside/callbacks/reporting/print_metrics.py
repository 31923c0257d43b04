"""`PrintMetrics`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import final

from trackside.callbacks.reporting import terminal
from trackside.callbacks.reporting.figures import figure
from trackside.history import Record
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.run import Rollback, Run
from trackside.schedule import Due, Schedule


@final
class PrintMetrics(RankZeroCallback):
    """Prints values when they are recorded: `step 100  train_recent/loss 0.4321  lr/0 0.0010`.

    Args:
        names: Which values, as patterns: `val/*`, `train_recent/loss`.
        every: How often at most; None prints every record that has one of the values.

    Example:
        >>> PrintMetrics(["train_recent/*", "lr/*"], every="500 steps")
        PrintMetrics(('train_recent/*', 'lr/*'), every='500 steps')
    """

    effect = "observes"
    on_error = "warn"

    def __init__(
        self,
        names: Sequence[str] = ("train_recent/*", "train/*", "val/*", "test/*"),
        *,
        every: str | Schedule | None = None,
    ) -> None:
        self.names = tuple(names)
        self._due = None if every is None else Due(every)

    def on_fit_start(self, run: Run) -> None:
        if self._due is not None:
            self._due.start(run.progress, run.limit)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self.on_fit_start(run)

    def on_log(self, run: Run, record: Record) -> None:
        chosen = choose(record.values, self.names)
        if not chosen or (self._due is not None and not self._due.crossed(run.progress)):
            return
        values = [f"{name} {figure(value)}" for name, value in chosen.items()]
        terminal.say("  ".join([f"step {record.step:,}", *values]))


def choose(values: Mapping[str, float], patterns: Iterable[str]) -> dict[str, float]:
    """The values whose name fits one of the patterns, in their own order."""
    patterns = list(patterns)
    return {n: v for n, v in values.items() if any(fnmatchcase(n, p) for p in patterns)}
