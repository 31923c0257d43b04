"""`EpochTable`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Literal, final

from rich.text import Text

from trackside.callbacks.reporting import terminal
from trackside.callbacks.reporting.epoch_rows import Columns, folded, is_best, way_of
from trackside.history import Mode, check_mode
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.run import Evaluation, Rollback, Run


@final
class EpochTable(RankZeroCallback):
    """Prints one row per epoch: its number, steps so far, metrics, seconds.

    An evaluation within an epoch, or after the last one, has its own row; within an epoch, the
    number is that of the epoch under way, marked `...`, as is an epoch that did not come to its
    end. The best value of a column so far has a star, where it is known which way is better. A
    column that appears later gets a new header. In a terminal, a row with more columns than fit
    goes on below, each part under its names.

    Args:
        columns: Names of the metrics to show; None shows those of the epoch's training and
            evaluations.
        modes: Which way is better, `min` or `max` by name, for metrics whose name doesn't say
            (losses and errors, accuracies and scores are known).

    Example:
        >>> EpochTable(columns=["train/loss", "val/margin"], modes={"val/margin": "max"})
        EpochTable(('train/loss', 'val/margin'), modes={'val/margin': 'max'})
    """

    effect = "observes"
    on_error = "warn"

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        *,
        modes: Mapping[str, Literal["min", "max"]] | None = None,
    ) -> None:
        self.columns = None if columns is None else tuple(columns)
        self.modes: dict[str, Mode] = {
            n: check_mode(mode, "modes") for n, mode in (modes or {}).items()
        }
        self._table = Columns()
        self._began = 0.0
        self._began_with = 0
        self._unprinted: dict[str, float] = {}
        self._within_epoch = False

    def on_fit_start(self, run: Run) -> None:
        self._table = Columns()
        self._unprinted = {}
        self._within_epoch = False
        self._began = perf_counter()

    def on_train_epoch_start(self, run: Run) -> None:
        self._within_epoch = True

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self._within_epoch = False

    def on_epoch_start(self, run: Run) -> None:
        self._began = perf_counter()
        self._began_with = run.progress.epochs_completed

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.sanity:
            return
        self._unprinted.update(evaluation.metrics)
        progress, limit = run.progress, run.limit
        is_last = progress.steps_completed == limit.steps
        is_last |= progress.epoch_steps_completed == limit.epoch_steps
        if self._within_epoch and not is_last:  # else the row of the epoch comes next
            self._print(run, f"{run.progress.epochs_completed + 1}...", evaluation.metrics)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        completed = run.progress.epochs_completed
        whole = completed > self._began_with or not run.progress.epoch_steps_completed
        self._print(run, str(completed) if whole else f"{completed + 1}...", metrics)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._unprinted = {}

    def on_fit_end(self, run: Run) -> None:
        if self._unprinted:
            self._print(run, "end", self._unprinted)

    def _print(self, run: Run, epoch: str, metrics: Mapping[str, float]) -> None:
        names = list(metrics) if self.columns is None else self.columns
        if self._table.widen(names):
            terminal.say(Text(folded(self._table.header(), terminal.columns()), "bold"))
        seconds = perf_counter() - self._began
        row = self._table.row(
            epoch,
            run.progress.steps_completed,
            seconds,
            metrics,
            partial(self._is_best, run),
        )
        line = Text(folded(row, terminal.columns()))
        line.highlight_regex(r"\S+\*", "bold green")
        terminal.say(line)
        self._unprinted = {}
        self._began = perf_counter()

    def _is_best(self, run: Run, name: str, value: float) -> bool:
        mode = way_of(name, self.modes)
        if mode is None:
            return False
        best = run.history.best(name, mode)
        if best is not None and best.value == value:  # of equal values, the first is the best
            return best.record.step == run.progress.steps_completed
        return is_best(value, None if best is None else best.value, mode)
